"""Faults of processes that neither work nor die: stopped by a signal, one of them while it leads the audit log."""

import asyncio
import re
import signal
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import httpx
import psutil

from hookbus.embedded.ports import LOOPBACK, free_port
from hookbus.embedded.probes import http_status
from support.matrix.row import Fault, Scene
from support.matrix.stand import Stand
from support.waiting import eventually

WHOLE_WITHIN_S = 30.0
KILLED_TIMEOUT_S = 90.0
LEADS_TIMEOUT_S = 60.0
POLL_S = 0.2


def stopped_for_good(service: str) -> Fault:
    """SIGSTOP, and nobody ever continues it: the supervisor has to find out and start another."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        pid = scene.stand.stack.kill(service, signal.SIGSTOP)
        began_s = asyncio.get_running_loop().time()
        async with asyncio.timeout(KILLED_TIMEOUT_S):
            while scene.stand.stack.pids().get(service) == pid and psutil.pid_exists(pid):
                await asyncio.sleep(POLL_S)
        scene.notes["found out after"] = f"{asyncio.get_running_loop().time() - began_s:.0f} s"
        scene.over()
        yield

    return Fault(f"{service} stopped (SIGSTOP) for good", inflict, whole_within_s=WHOLE_WITHIN_S)


def leader_stopped(lasts_s: float) -> Fault:
    """SIGSTOP to the process that appends to the log, while another stands by; then it goes on, and must not append."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        port = free_port()
        with second_audit(scene.stand, port) as second:
            # The one the supervisor does not watch stands by, and so comes to lead while the other is started again.
            await eventually(lambda: _stands_by(port), LEADS_TIMEOUT_S)
            scene.stand.stack.kill("audit")
            await eventually(lambda: _leads(port), LEADS_TIMEOUT_S)
            await eventually(scene.stand.is_ready, LEADS_TIMEOUT_S)
            before = await _epoch(scene.stand)
            second.send_signal(signal.SIGSTOP)
            began_s = asyncio.get_running_loop().time()

            async def taken_over() -> bool:
                return await _epoch(scene.stand) > before

            await eventually(taken_over, LEADS_TIMEOUT_S)
            scene.notes["taken over after"] = f"{asyncio.get_running_loop().time() - began_s:.0f} s"
            await scene.load.flowing()
            await asyncio.sleep(max(0.0, lasts_s - (asyncio.get_running_loop().time() - began_s)))
            second.send_signal(signal.SIGCONT)
            await scene.load.flowing()
            yield

    return Fault(f"log's leader stopped (SIGSTOP) for {lasts_s:.0f} s", inflict, whole_within_s=WHOLE_WITHIN_S)


@contextmanager
def second_audit(stand: Stand, port: int) -> "Generator[subprocess.Popen[bytes]]":
    """Another process of the audit service, with the settings of the first, unsupervised."""
    first = psutil.Process(stand.pid("audit"))
    environment = {**first.environ(), "HOOKBUS_HTTP_PORT": str(port)}
    with (stand.control / "second-audit.log").open("ab") as log:
        process = subprocess.Popen(first.cmdline(), env=environment, stdout=log, stderr=log, cwd="/")
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _stands_by(port: int) -> bool:
    """Whether the audit process on ``port`` is ready."""
    return await asyncio.to_thread(http_status, LOOPBACK, port, "/readyz") == 200


async def _leads(port: int) -> bool:
    """Whether the audit process on ``port`` appends: one that stands by does not know the size of the log."""
    try:
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://{LOOPBACK}:{port}/metrics")).text
    except httpx.HTTPError:
        return False
    sizes = re.findall(r"^hookbus_audit_log_entries (\S+)$", text, re.MULTILINE)
    return bool(sizes) and sizes[0] != "NaN"


async def _epoch(stand: Stand) -> int:
    superuser = await stand.superuser()
    try:
        epoch: int = await superuser.fetchval("SELECT epoch FROM audit.log_state")
        return epoch
    finally:
        await superuser.close()
