"""The keys of the audit log in a backup: copied so that they open each other, and whether any was rotated meanwhile."""

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from hookbus.embedded.files import FOLDER_MODE
from hookbus.embedded.layout import Layout

LOCK_SUFFIX: Final = ".lock"
HANDOVERS_SUFFIX: Final = ".handovers"


@contextmanager
def signer_held(layout: Layout) -> Generator[None]:
    """Keep the signer from its files for a moment: copied half way through a rotation they do not fit each other."""
    key_file = layout.audit_signing_key_file
    try:
        descriptor = os.open(key_file.with_name(key_file.name + LOCK_SUFFIX), os.O_RDWR)
    except FileNotFoundError:
        yield  # no signer was ever at work
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def handovers(layout: Layout) -> bytes:
    """The notes by which each signing key handed on to the next, as they lie in their file."""
    key_file = layout.audit_signing_key_file
    try:
        return key_file.with_name(key_file.name + HANDOVERS_SUFFIX).read_bytes()
    except FileNotFoundError:
        return b""


def newest_kek(key_store: Path) -> int | None:
    """Which key-encryption key wraps the data keys, counted from the first; None where there is no key yet."""
    if not key_store.exists():
        return None
    with closing(_read_only(key_store)) as connection:
        (newest,) = connection.execute("SELECT max(kek_id) FROM key_encryption_keys").fetchone()
        return None if newest is None else int(newest)


def copy_keys(source: Path, target: Path) -> None:
    """SQLite's online copy of the wrapped keys."""
    if not source.exists():
        return
    target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    with closing(_read_only(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)
