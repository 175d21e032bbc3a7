"""Files of the data folder: secrets that only their owner reads, and the way another user needs through folders."""

import contextlib
import logging
import os
import secrets
import stat
from pathlib import Path
from typing import Final

SECRET_BYTES: Final = 32
"""Randomness in each generated password."""

FOLDER_MODE: Final = 0o700
SECRET_FILE_MODE: Final = 0o600

log = logging.getLogger(__name__)


def make_folder(folder: Path) -> Path:
    """The folder, created with its parents if absent, closed to everyone else when it is new."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return folder


def write_secret_file(path: Path, text: str) -> None:
    """Replace ``path`` in one step by a 0600 file of ``text``, on disk before this returns."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, SECRET_FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def generate_password() -> str:
    """A new random password in the URL-safe alphabet, so that it can stand in an address as it is."""
    return secrets.token_urlsafe(SECRET_BYTES)


def read_or_create_password(path: Path) -> str:
    """The password kept in ``path``, generated at the first call."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        password = generate_password()
        write_secret_file(path, password)
        return password


def open_way(target: Path, uid: int) -> None:
    """Let user ``uid`` walk to ``target``: the execute bit for others on each folder above it that lacks the way.

    Nothing becomes readable; each folder changed is logged.
    """
    for folder in target.resolve().parents:
        facts = folder.stat()
        if facts.st_mode & stat.S_IXOTH or (facts.st_uid == uid and facts.st_mode & stat.S_IXUSR):
            continue
        folder.chmod(stat.S_IMODE(facts.st_mode) | stat.S_IXOTH)
        log.warning("made %s traversable (o+x) for user id %d, which runs PostgreSQL", folder, uid)
