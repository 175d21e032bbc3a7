"""Faults of what runs out: connections and locks of the database, room on a disk."""

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from support.matrix.row import Fault, Scene
from support.matrix.stand import BeforeStart

WHOLE_WITHIN_S = 60.0
BALLAST = "ballast"
CHUNK = b"\x00" * (1024 * 1024)
CONNECTIONS_MAX = 200
"""More than any server of these tests allows."""
HOT_TABLES = ("budget.balances", "session.sessions", "audit.log_state")


def connections_exhausted(lasts_s: float) -> Fault:
    """Every connection of the services is ended, and others take all there are before they come back."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        taken: list[asyncpg.Connection[asyncpg.Record]] = []
        try:
            # Its own last, so that one remains to end the others with.
            with suppress(asyncpg.TooManyConnectionsError):
                while len(taken) < CONNECTIONS_MAX:
                    taken.append(await scene.stand.superuser())
            await taken[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'hookbus-%'"
            )
            with suppress(asyncpg.TooManyConnectionsError):
                while len(taken) < CONNECTIONS_MAX:
                    taken.append(await scene.stand.superuser())
            scene.notes["connections taken"] = str(len(taken))
            yield
        finally:
            await asyncio.gather(*(connection.close() for connection in taken))

    return Fault("all connections of postgres taken", inflict, lasts_s, WHOLE_WITHIN_S)


def tables_locked(lasts_s: float) -> Fault:
    """Somebody locks the hottest table of each service: every pool fills with statements that wait."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        holder = await scene.stand.superuser()
        try:
            async with holder.transaction():
                for table in HOT_TABLES:
                    await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                yield
        finally:
            await holder.close()

    return Fault(f"hot tables locked for {lasts_s:.0f} s", inflict, lasts_s, WHOLE_WITHIN_S)


def disk_full(server: str, lasts_s: float) -> Fault:
    """The file system of a server's data has no byte left; see :func:`small_disks`."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        ballast = scene.stand.stack.layout.root / server / BALLAST
        try:
            with ballast.open("wb", buffering=0) as stream, suppress(OSError):
                while True:
                    stream.write(CHUNK)
            yield
        finally:
            ballast.unlink()

    return Fault(f"disk of {server} full for {lasts_s:.0f} s", inflict, lasts_s, WHOLE_WITHIN_S)


def small_disks(**megabytes: int) -> BeforeStart:
    """A file system of its own, in memory, for each named folder of a stack. Skips where none may be mounted."""

    def mount(root: Path, held: ExitStack) -> None:
        for name, size in megabytes.items():
            folder = root / name
            folder.mkdir(parents=True)
            mounted(folder, size)
            held.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)

    return mount


def mounted(folder: Path, megabytes: int) -> None:
    """Mount a small file system; the caller unmounts it. Skips the test where that is not permitted."""
    if os.geteuid() != 0:
        pytest.skip("a small file system is mounted by root alone")
    arguments = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "tmpfs", str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
