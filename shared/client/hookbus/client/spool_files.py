"""What the files of the spool are made of: a line for each event, a lock between processes, appends that last.

Apart from the spool itself because its key (:mod:`hookbus.client.sealing`) and the other files of the data folder stand
on it as well.
"""

from __future__ import annotations

import binascii
import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

LOCK_POLL_S = 0.005
FOLDER_MODE = 0o700
FILE_MODE = 0o600
PLAIN = b"1 "
SEALED = b"2 "
OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW
_LINE_HEAD_BYTES = len(PLAIN) + 8 + 1


class SpoolError(Exception):
    """The spool could not take or give an event; the text says why, for a person."""


class SpoolFullError(SpoolError):
    """The bound on bytes is reached."""


class OtherKeyError(SpoolError):
    """A record was sealed with another key than the configured one; ``key_id`` says with which."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"it is sealed with the key {key_id}, which is not the configured one")
        self.key_id = key_id


def encode_line(body: bytes, form: bytes = PLAIN) -> bytes:
    """One event, plain or sealed, as its line."""
    return form + b"%08x " % binascii.crc32(body) + body + b"\n"


def decode_line(line: bytes, form: bytes = PLAIN) -> bytes | None:
    """What a line without its newline holds, or None where it is torn, damaged or of another form."""
    body = line[_LINE_HEAD_BYTES:]
    return body if body and line + b"\n" == encode_line(body, form) else None


class FileLock:
    """An exclusive lock between processes, released by the kernel when its holder dies."""

    def __init__(self, path: str, wait_s: float) -> None:
        self.path = path
        self.wait_s = wait_s
        self._descriptor = -1

    def __enter__(self) -> bool:
        """Whether the lock was had within the wait."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, FILE_MODE)
        until = time.monotonic() + self.wait_s
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    return False
                time.sleep(LOCK_POLL_S)
            else:
                return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


class NeededLock(FileLock):
    """A lock without which there is nothing to do: entering raises :class:`SpoolError` where it is not had in time."""

    def __enter__(self) -> bool:
        """True."""
        if not super().__enter__():
            os.close(self._descriptor)
            raise SpoolError(f"{self.path} was held by another process for {self.wait_s:.2g} s")
        return True


def append_durably(path: str, lines: bytes, *, new: bool = False) -> None:
    """Append whole lines to a file, all or none of them, and return when they are on the disk.

    What a killed process left half-written is ended first, so that it stays a line of its own. ``new`` takes no file
    that exists. The caller holds the lock under which the file is written.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | OPEN_FLAGS | (os.O_EXCL if new else 0)
    descriptor = os.open(path, flags, FILE_MODE)
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            # Before the first line: a file that holds something then has a name that lasts, whoever is killed when.
            sync_folder(os.path.dirname(path))  # noqa: PTH120  # pathlib doubles the start time
        torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        try:
            write_all(descriptor, b"\n" + lines if torn else lines)
            os.fsync(descriptor)
        except OSError:
            # All or none: who is told "not stored" must not find half of it replayed. Readers of what waits hold the
            # lock too, so none of them has seen these bytes.
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of it, however many calls the kernel wants."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: str) -> None:
    """Make new and removed names of a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
