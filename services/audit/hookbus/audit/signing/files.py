"""Files that hold secrets or promises: put in place whole, synced, readable by their owner alone."""

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


class KeyFileError(Exception):
    """A secret file is absent, unreadable, or readable by others; the text says which."""


def write_private(path: Path, body: bytes) -> None:
    """Put ``body`` in place at once and for good, readable by the owner alone."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, SECRET_MODE)
    try:
        os.fchmod(descriptor, SECRET_MODE)
        os.write(descriptor, body)
        os.fsync(descriptor)
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
        os.write(old, bytes(os.fstat(old).st_size))
        os.fsync(old)
    finally:
        os.close(old)


def append_line(path: Path, line: bytes, mode: int = SECRET_MODE) -> None:
    """Add one line to the end, synced before this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
    try:
        os.write(descriptor, line + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(path.parent)


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
    """Overwrite a secret file and remove it. A file system that copies on write may keep the old blocks for a while."""
    length = path.stat().st_size
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, bytes(length))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    path.unlink()
    sync_folder(path.parent)


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
