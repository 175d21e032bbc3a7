"""Take a backup of a running stack.

The order makes it whole. First the state of the audit log's signer: an older one lets the restored log continue, a
newer one would refuse it. Then the bus: what it held is processed again after a restore, and counted once. Then the
database: what had left the bus by then is in it. Last the wrapped keys of the audit log, which are kept before the
entries that need them (docs/decisions/0082-backup.md).
"""

import asyncio
import json
import shutil
import sqlite3
import tempfile
import urllib.error
import urllib.request
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hookbus.embedded import credentials, postgres, state
from hookbus.embedded.backup import bus, database
from hookbus.embedded.backup.files import (
    BUS,
    DATABASE,
    FORMAT,
    MANIFEST,
    ROOT_FILES,
    BackupError,
    Manifest,
    hashes_below,
    pack,
)
from hookbus.embedded.layout import Layout
from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.ports import LOOPBACK
from hookbus.platform.bus.connection import connect_plain

HTTP_TIMEOUT_S: Final = 10.0
LEFT_OUT: Final = frozenset({"lock", "run.json", "postgres.url", "logs", "nats", "postgres", "audit-keys"})
"""What a start makes anew, and what is copied in its own way."""


def take(layout: Layout, running: state.RunState, target: Path) -> Manifest:
    """Write a backup of the stack that ``running`` describes into ``target``.

    Raises:
        BackupError, BusError: what stands in the way; no file is left then.
    """
    staging = Path(tempfile.mkdtemp(prefix=".hookbus-backup-", dir=target.parent))
    try:
        for name in (BUS, DATABASE, ROOT_FILES):
            (staging / name).mkdir(mode=0o700)
        checkpoint = newest_checkpoint(running.url, credentials.client_key(layout))
        _copy_files(layout.root, staging / ROOT_FILES)
        streams = asyncio.run(_save_bus(layout, running.ports["nats"], staging / BUS))
        password = (layout.secrets / "postgres_superuser").read_text(encoding="utf-8")
        database.save(staging / DATABASE, port=running.ports["postgres"], password=password)
        _copy_keys(layout.audit_keys_file, staging / ROOT_FILES / layout.audit_keys_file.relative_to(layout.root))
        manifest = Manifest(
            format=FORMAT,
            created_at=datetime.now(UTC),
            postgres_major=postgres.MAJOR_VERSION,
            streams=streams,
            checkpoint=checkpoint,
            hashes=hashes_below(staging),
        )
        (staging / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
        pack(staging, target)
        return manifest
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def newest_checkpoint(url: str, api_key: str | None) -> str | None:
    """The audit log's newest checkpoint as the gateway gives it; None for a log without entries."""
    request = urllib.request.Request(f"{url}/api/v1/audit/checkpoint", headers={"Authorization": f"Bearer {api_key}"})  # noqa: S310 - the stack's own address
    try:
        with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as answer:  # noqa: S310 - as above
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 404:
                return None
            raise BackupError(f"the gateway gives no checkpoint of the audit log: {error.code}") from error
    except OSError as error:
        raise BackupError(f"the gateway does not answer: {error}") from error


async def _save_bus(layout: Layout, port: int, folder: Path) -> dict[str, int]:
    password = (layout.secrets / f"nats_{PROVISION_USER}").read_text(encoding="utf-8")
    client = await connect_plain(f"nats://{LOOPBACK}:{port}", PROVISION_USER, password)
    try:
        return {name: await bus.save_stream(client, name, folder) for name in await bus.stream_names(client)}
    finally:
        await client.close()


def _copy_files(root: Path, target: Path) -> None:
    """Secrets, credentials, the audit log's signing key and passphrase, and what else lies in the data folder."""
    for path in sorted(root.iterdir()):
        if path.name in LEFT_OUT or path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.copytree(path, target / path.name, ignore=_no_files)
        elif path.is_file():
            shutil.copy2(path, target / path.name)


def _no_files(folder: str, names: list[str]) -> set[str]:
    """Sockets and pipes are no data."""
    return {name for name in names if not ((path := Path(folder) / name).is_dir() or path.is_file())}


def _copy_keys(source: Path, target: Path) -> None:
    if not source.exists():
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)


def checkpoint_size(note: str) -> int:
    """The number of entries a checkpoint covers: its second line (C2SP tlog-checkpoint)."""
    return int(note.split("\n")[1])


def newest_anchor(path: Path) -> str | None:
    """The note of the largest checkpoint in an anchor file; None where it holds none."""
    notes = [str(json.loads(line)["note"]) for line in path.read_bytes().split(b"\n")[:-1] if line]
    return max(notes, key=checkpoint_size, default=None)
