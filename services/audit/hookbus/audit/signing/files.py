"""Files that hold secrets or promises: put in place whole, synced, readable by their owner alone."""

import fcntl
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

SECRET_MODE: Final = 0o600
OTHERS_MASK: Final = 0o077
TAIL_CHUNK_BYTES: Final = 4 * 1024
"""What is read at once in search of the end of the last whole line."""


class KeyFileError(Exception):
    """A secret file is absent, unreadable, or readable by others; the text says which."""


def write_private(path: Path, body: bytes) -> None:
    """Put ``body`` in place at once and for good, readable by the owner alone; raises OSError, and nothing changed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SECRET_MODE)
    try:
        os.fchmod(descriptor, SECRET_MODE)
        _write_all(descriptor, body)
        os.fsync(descriptor)
    except OSError:
        temporary.unlink()
        raise
    finally:
        os.close(descriptor)
    temporary.replace(path)
    sync_folder(path.parent)


def replace_private(path: Path, body: bytes) -> None:
    """Put ``body`` in place of what ``path`` holds, at no moment nothing, and overwrite what it held."""
    try:
        old = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        write_private(path, body)
        return
    try:
        write_private(path, body)
        _overwrite(old)
    finally:
        os.close(old)


def append_line(path: Path, line: bytes, mode: int = SECRET_MODE) -> None:
    """Add one line to the end, synced before this returns; raises OSError, and the line is not there.

    What a crash or a full disk left of a line is cut off first. Where a file system lets the file only grow, the new
    line begins behind it, and readers leave out what is no whole line.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, mode)
    try:
        # Another process's line, half written, would look like one that was cut short.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        end = _end_of_lines(descriptor)
        begin = b"" if _cut(descriptor, end) else b"\n"
        try:
            _write_all(descriptor, begin + line + b"\n")
            os.fsync(descriptor)
        except OSError:
            _cut(descriptor, end)
            raise
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


def _end_of_lines(descriptor: int) -> int:
    """Where the last whole line ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - TAIL_CHUNK_BYTES)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _cut(descriptor: int, end: int) -> bool:
    """Let the file end there; whether it does."""
    if os.fstat(descriptor).st_size > end:
        try:
            os.ftruncate(descriptor, end)
        except PermissionError:
            return False
    return True


def _write_all(descriptor: int, body: bytes) -> None:
    """Write to the last byte: a disk that fills up takes the first part of a write without an error."""
    left = memoryview(body)
    while left:
        left = left[os.write(descriptor, left) :]


def _overwrite(descriptor: int) -> None:
    """Zeros in place of what an open file holds."""
    _write_all(descriptor, bytes(os.fstat(descriptor).st_size))
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private(path: Path) -> bytes:
    """The bytes of a secret file; raises KeyFileError where others may read it."""
    try:
        mode = path.stat().st_mode
        body = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}") from error
    if mode & OTHERS_MASK:
        raise KeyFileError(f"{path}: others may read this secret; its mode must be 600")
    return body


def destroy(path: Path) -> None:
    """Remove a secret file and overwrite what it held. A file system that copies on write may keep the old blocks for a
    while."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        # The name goes first: after a crash in between, zeros under it would pass for a secret.
        path.unlink()
        sync_folder(path.parent)
        _overwrite(descriptor)
    finally:
        os.close(descriptor)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """A private key as it lies in its file: PKCS#8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def create_key_file(path: Path) -> None:
    """Write a new Ed25519 private key (PKCS#8 PEM, mode 0600)."""
    write_private(path, private_pem(Ed25519PrivateKey.generate()))


def load_key_file(path: Path) -> Ed25519PrivateKey:
    """Raises KeyFileError where the file is not an Ed25519 private key only its owner can read."""
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path}: not a private key in PEM form") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: not an Ed25519 key")
    return key
