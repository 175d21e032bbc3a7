"""Take a backup of a running stack.

The order makes it whole. First the state of the audit log's signer: an older one lets the restored log continue, a
newer one would refuse it. Then the bus: what it held is processed again after a restore, and counted once. Then the
database: what had left the bus by then is in it. Last the wrapped keys of the audit log, which are kept before the
entries that need them. Where a key of the log was rotated in between, the parts do not fit each other, and it begins
anew (docs/decisions/0082-backup.md).
"""

import asyncio
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hookbus.embedded import credentials, postgres, state
from hookbus.embedded.backup import bus, database, keys
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
from hookbus.embedded.files import FOLDER_MODE
from hookbus.embedded.layout import Layout
from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.ports import LOOPBACK
from hookbus.platform.bus.connection import connect_plain

HTTP_TIMEOUT_S: Final = 10.0
ATTEMPTS_MAX: Final = 3
NEXT_SUFFIX: Final = ".next"
"""Of a secret that is to take another's place."""
LEFT_OUT: Final = frozenset({"lock", "run.json", "postgres.url", "logs", "nats", "postgres", "audit-keys"})
"""What a start makes anew, and what is copied in its own way."""


def take(layout: Layout, running: state.RunState, target: Path) -> Manifest:
    """Write a backup of the stack that ``running`` describes into ``target``.

    Raises:
        BackupError, BusError: what stands in the way; no file is left then.
    """
    for _ in range(ATTEMPTS_MAX):
        staging = Path(tempfile.mkdtemp(prefix=".hookbus-backup-", dir=target.parent))
        try:
            manifest = _gather(layout, running, staging)
            if manifest is not None:
                (staging / MANIFEST).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")
                pack(staging, target)
                return manifest
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    raise BackupError(f"a key of the audit log was rotated during each of {ATTEMPTS_MAX} attempts: nothing is written")


def _gather(layout: Layout, running: state.RunState, staging: Path) -> Manifest | None:
    """Copy every part into ``staging``; None where a key of the audit log was rotated meanwhile."""
    for name in (BUS, DATABASE, ROOT_FILES):
        (staging / name).mkdir(mode=FOLDER_MODE)
    checkpoint = newest_checkpoint(running.url, credentials.client_key(layout))
    kek = keys.newest_kek(layout.audit_keys_file)
    copied = Layout(staging / ROOT_FILES)
    copy_files(layout, copied.root)
    streams = asyncio.run(_save_bus(layout, running.ports["nats"], staging / BUS))
    password = (layout.secrets / "postgres_superuser").read_text(encoding="utf-8")
    database.save(staging / DATABASE, port=running.ports["postgres"], password=password)
    # The database may hold checkpoints of a signing key that the copied handovers do not name.
    if keys.handovers(layout) != keys.handovers(copied):
        return None
    keys.copy_keys(layout.audit_keys_file, copied.audit_keys_file)
    # The copied passphrase, or key file, opens the keys only if it is the one they were wrapped under all the while.
    if keys.newest_kek(copied.audit_keys_file) != kek:
        return None
    return Manifest(
        format=FORMAT,
        created_at=datetime.now(UTC),
        postgres_major=postgres.MAJOR_VERSION,
        streams=streams,
        checkpoint=checkpoint,
        hashes=hashes_below(staging),
    )


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


def copy_files(layout: Layout, target: Path) -> None:
    """Secrets, credentials, the audit log's signing key and passphrase, and what else lies in the data folder."""
    for path in sorted(layout.root.iterdir()):
        if path.name in LEFT_OUT or path.name.startswith("."):
            continue
        is_signers = path == layout.audit_signing_key_file.parent
        with keys.signer_held(layout) if is_signers else nullcontext():
            _copy(path, target / path.name)


def _copy(source: Path, target: Path) -> None:
    """A file, or a folder with all in it, as it is now. Sockets and pipes are no data.

    What vanishes meanwhile is left out: a draft that was put in its place, a segment of the spool that was sent.
    """
    with suppress(FileNotFoundError):
        if source.is_dir():
            target.mkdir(mode=FOLDER_MODE)
            for path in sorted(source.iterdir(), key=_turn):
                _copy(path, target / path.name)
        elif source.is_file():
            shutil.copy2(source, target)


def _turn(path: Path) -> tuple[bool, str]:
    """A secret that is to take another's place comes first: it may do so in between, and would be missed in both."""
    return not path.name.endswith(NEXT_SUFFIX), path.name


def checkpoint_size(note: str) -> int:
    """The number of entries a checkpoint covers: its second line (C2SP tlog-checkpoint)."""
    return int(note.split("\n")[1])


def newest_anchor(path: Path) -> str | None:
    """The note of the largest checkpoint in an anchor file; None where it holds none.

    A line without its end is what a crash left of it, and was never promised to anybody.
    """
    lines = path.read_bytes().split(b"\n")[:-1]
    notes = [str(json.loads(line)["note"]) for line in lines if line.endswith(b"}")]
    return max(notes, key=checkpoint_size, default=None)
