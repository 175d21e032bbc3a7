"""One file for the whole: a compressed tar with a manifest that names what is inside by its hash."""

import hashlib
import os
import tarfile
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from hookbus.embedded.files import SECRET_FILE_MODE

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
BUS: Final = "bus"
DATABASE: Final = "postgres"
ROOT_FILES: Final = "root"
HASH_CHUNK_BYTES: Final = 1024 * 1024
COMPRESSION_LEVEL: Final = 1


class BackupError(Exception):
    """The backup cannot be taken or used; the text says why."""


class Manifest(BaseModel):
    """What a backup holds. ``hashes``: path -> SHA-256, of every file."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    created_at: datetime
    postgres_major: int
    streams: dict[str, int]
    """Name -> the sequence number of its last message."""
    checkpoint: str | None
    """The newest checkpoint of the audit log before anything was copied: the restored log must lead to it."""
    hashes: dict[str, str]


def hash_of(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hashes_below(folder: Path) -> dict[str, str]:
    """Path relative to ``folder`` -> hash, of all but the manifest itself."""
    return {
        str(path.relative_to(folder)): hash_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }


def pack(folder: Path, target: Path) -> None:
    """Write everything below ``folder`` into ``target`` (0600), which appears whole or not at all."""
    draft = target.with_name(f".{target.name}.{os.getpid()}.draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_FILE_MODE)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=COMPRESSION_LEVEL) as archive:
                archive.add(folder / MANIFEST, MANIFEST)
                for name in (BUS, DATABASE, ROOT_FILES):
                    archive.add(folder / name, name)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def unpack(source: Path, folder: Path) -> Manifest:
    """Extract a backup into ``folder`` and check it against its manifest.

    Raises:
        BackupError: it is no backup, one of another format, or damaged.
    """
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            archive.extractall(folder, filter="data")
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (tarfile.TarError, EOFError, OSError, ValidationError) as error:
        raise BackupError(f"{source} is no whole backup of hookbus: {type(error).__name__}: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"{source} is of format {manifest.format}; this hookbus reads format {FORMAT}")
    found = hashes_below(folder)
    if found != manifest.hashes:
        wrong = sorted(
            name for name in found.keys() | manifest.hashes.keys() if found.get(name) != manifest.hashes.get(name)
        )
        raise BackupError(f"{source} is damaged: {', '.join(wrong[:5])}")
    return manifest
