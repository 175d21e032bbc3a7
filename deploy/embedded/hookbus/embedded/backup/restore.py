"""Bring a backup back into an empty data folder, start it once, and check the audit log against what is known of it."""

import asyncio
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hookbus.embedded import credentials, nats, postgres
from hookbus.embedded.backup import bus, database
from hookbus.embedded.backup.files import BUS, DATABASE, ROOT_FILES, BackupError, Manifest, unpack
from hookbus.embedded.backup.take import checkpoint_size
from hookbus.embedded.files import make_folder
from hookbus.embedded.layout import Layout
from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.ports import free_ports
from hookbus.embedded.probes import wait_until
from hookbus.embedded.processes import ManagedProcess
from hookbus.platform.bus.connection import connect_plain

VERIFY_TIMEOUT_S: Final = 3_600.0


@dataclass(frozen=True)
class Verdict:
    """What the check of the restored log found. ``fault`` is None where all fits."""

    size: int
    fault: str | None = None


def restore(source: Path, layout: Layout) -> Manifest:
    """Make ``layout`` the installation that ``source`` holds. It does not run yet.

    Raises:
        BackupError, BusError: the folder is not empty, or the backup is damaged or of another version; the folder is as
            it was.
    """
    root = layout.root
    if root.exists() and any(root.iterdir()):
        raise BackupError(
            f"{root} is not empty: restore into a new folder, and look at it before you give up the old one"
        )
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".hookbus-restore-", dir=root.parent))
    try:
        unpacked, made = draft / "unpacked", draft / "root"
        unpacked.mkdir(mode=0o700)
        manifest = unpack(source, unpacked)
        if manifest.postgres_major != postgres.MAJOR_VERSION:
            raise BackupError(
                f"the backup is of PostgreSQL {manifest.postgres_major}, here runs {postgres.MAJOR_VERSION}: restore "
                "with the hookbus that took it and move the data by pg_dump"
            )
        shutil.move(unpacked / ROOT_FILES, made)
        _close(made)
        asyncio.run(_load_bus(Layout(made), unpacked / BUS, manifest))
        database.place(unpacked / DATABASE, made)
        if root.exists():
            root.rmdir()
        made.replace(root)
        return manifest
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _close(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)


async def _load_bus(layout: Layout, folder: Path, manifest: Manifest) -> None:
    """Let a nats-server of its own take the streams in, so that they lie on the disk as it keeps them."""
    port, monitor_port = free_ports(2)
    make_folder(layout.logs)
    server = nats.prepare(
        layout.root / "nats", layout.log_file("nats"), layout.secrets, port=port, monitor_port=monitor_port
    )
    process = ManagedProcess(server.spec())
    process.start()
    try:
        if not await asyncio.to_thread(wait_until, server.is_ready, timeout_s=nats.READY_TIMEOUT_S, interval_s=0.05):
            raise BackupError(f"nats-server does not start: {process.log_tail()}")
        client = await connect_plain(server.url, PROVISION_USER, server.passwords[PROVISION_USER])
        try:
            for name, last in manifest.streams.items():
                loaded = await bus.load_stream(client, name, folder)
                if loaded < last:
                    raise BackupError(f"the stream {name} came back up to message {loaded}, not {last}")
        finally:
            await client.close()
    finally:
        await asyncio.to_thread(process.stop)


def verify(layout: Layout, url: str, notes: dict[str, str]) -> Verdict:
    """Check every entry of a running stack's log, and that it leads to each of ``notes`` (where from -> checkpoint)."""
    api_key = credentials.client_key(layout)
    size = 0
    for origin, note in notes.items() or [("", "")]:
        body: dict[str, Any] = {"checkpoint": note} if note else {}
        status, answer = _post(f"{url}/api/v1/audit/verify", api_key, body)
        if status != 200:
            return Verdict(size, f"the checkpoint of {origin} is not of this log: {answer.get('detail', status)}")
        size = int(answer["size"])
        if note and checkpoint_size(note) > size:
            return Verdict(
                size,
                f"ROLLBACK: the restored log ends after {size} entries, and {origin} holds a checkpoint of "
                f"{checkpoint_size(note)}. The entries in between were recorded after this backup and are not in it",
            )
        if not answer["ok"]:
            return Verdict(size, f"the audit log does not verify against {origin}: {answer.get('fault')}")
    return Verdict(size)


def _post(url: str, api_key: str | None, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the stack's own address
    try:
        with urllib.request.urlopen(request, timeout=VERIFY_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or b"{}")
    except OSError as error:
        raise BackupError(f"the restored gateway does not answer: {error}") from error


def without_anchors() -> dict[str, str]:
    """The environment in which a restored log is started for its check: nothing may leave it before it has passed."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HOOKBUS_AUDIT_ANCHOR", "HOOKBUS_AUDIT_WITNESS"))
    }
