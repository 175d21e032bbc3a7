"""The file fallback: events that wait for the gateway, one fsynced and checksummed line each.

``<data>/spool`` (0700) holds segments ``<number>.seg`` (0600), oldest number first. A line is
``1 <crc32 of what follows, 8 hex digits> <event as compact JSON>``, and with a key configured
``2 <crc32 of what follows> <key id> <sealed event>``. Many processes append at once under ``append.lock``;
what a killed process left half-written is ended by the next line's leading newline and fails its checksum, so it
can neither be sent nor damage its neighbours.
"""

from __future__ import annotations

import binascii
import errno
import fcntl
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from hookbus.client.sealing import Sealer

SPOOL_BYTES_MAX = 64 * 1024 * 1024
SEGMENT_BYTES_MAX = 1024 * 1024
RECORD_BYTES_MAX = 512 * 1024
SET_ASIDE_BYTES_MAX = 16 * 1024 * 1024
APPEND_LOCK_WAIT_S = 2.0
LOCK_POLL_S = 0.005
FOLDER_MODE = 0o700
FILE_MODE = 0o600
SEGMENT_SUFFIX = ".seg"
APPEND_LOCK = "append.lock"
DRAIN_LOCK = "drain.lock"
CURSOR_FILE = "cursor"
REJECTED_FILE = "rejected.jsonl"
QUARANTINE_FILE = "quarantine.bin"
ASIDE_SUFFIX = ".aside"
PLAIN = b"1 "
SEALED = b"2 "
_LINE_HEAD_BYTES = len(PLAIN) + 8 + 1
_OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW


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
        self._path = path
        self._wait_s = wait_s
        self._descriptor = -1

    def __enter__(self) -> bool:
        """Whether the lock was had within the wait."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | _OPEN_FLAGS, FILE_MODE)
        until = time.monotonic() + self._wait_s
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


class Spool:
    """One spool folder. Nothing is created before the first append."""

    def __init__(self, folder: str, *, bytes_max: int = SPOOL_BYTES_MAX, key_file: str | None = None) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        self.key_file = key_file
        self._sealer: Sealer | None = None

    def sealer(self) -> Sealer:
        """Of the configured key. Raises SpoolError where there is none or it cannot be used."""
        if self.key_file is None:
            raise SpoolError("the spool holds sealed events and no key is configured: set HOOKBUS_SPOOL_KEY_FILE")
        if self._sealer is None:
            from hookbus.client import sealing

            self._sealer = sealing.load(self.key_file)
        return self._sealer

    def line_of(self, event: bytes) -> bytes:
        """The line of an event: sealed where a key is configured, never plain because that key cannot be used."""
        return encode_line(event) if self.key_file is None else encode_line(self.sealer().seal(event), SEALED)

    def event_of(self, line: bytes) -> bytes | None:
        """The event of a line, None where it is torn or damaged. Raises SpoolError for one that cannot be opened."""
        sealed = decode_line(line, SEALED)
        return decode_line(line) if sealed is None else self.sealer().open(sealed)

    def path(self, name: str) -> str:
        """The path of one of the folder's files."""
        return f"{self.folder}/{name}"

    def segments(self) -> list[str]:
        """The names of all segments, oldest first."""
        try:
            names = os.listdir(self.folder)  # noqa: PTH208  # pathlib doubles the start time
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SpoolError(f"{self.folder} cannot be read: {error.strerror}") from None
        return sorted(name for name in names if name.endswith(SEGMENT_SUFFIX))

    def append(self, events: list[bytes]) -> None:
        """Store events durably, all or none. Raises :class:`SpoolFullError` or :class:`SpoolError`."""
        if max(map(len, events)) > RECORD_BYTES_MAX:
            raise SpoolError(f"an event is over {RECORD_BYTES_MAX} bytes")
        lines = b"".join(map(self.line_of, events))
        try:
            self._create_folder()
            with self.append_lock() as locked:
                if not locked:
                    raise SpoolError(f"{self.path(APPEND_LOCK)} was held for {APPEND_LOCK_WAIT_S:g} s")
                self._append_locked(lines)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise SpoolFullError(f"the disk of the spool {self.folder} is full") from None
            raise SpoolError(f"the spool {self.folder} cannot be written: {error.strerror}") from None

    def _create_folder(self) -> None:
        for folder in (os.path.dirname(self.folder), self.folder):  # noqa: PTH120  # as above
            os.makedirs(folder, FOLDER_MODE, exist_ok=True)  # noqa: PTH103  # as above
        state = os.stat(self.folder)  # noqa: PTH116  # as above
        if state.st_mode & 0o077:
            os.chmod(self.folder, FOLDER_MODE)  # noqa: PTH101  # as above

    def _append_locked(self, lines: bytes) -> None:
        names = self.segments()
        sizes = [os.stat(self.path(name)).st_size for name in names]  # noqa: PTH116  # as above
        if sum(sizes) + len(lines) + 1 > self.bytes_max:
            raise SpoolFullError(
                f"the spool {self.folder} is full ({sum(sizes)} of {self.bytes_max} bytes): "
                "start the gateway, then run: hookbus spool flush"
            )
        fresh = not names or sizes[-1] + len(lines) > SEGMENT_BYTES_MAX
        name = self._next_name(names) if fresh else names[-1]
        descriptor = os.open(
            self.path(name), os.O_RDWR | os.O_APPEND | os.O_CREAT | _OPEN_FLAGS | (os.O_EXCL if fresh else 0), FILE_MODE
        )
        try:
            size = os.fstat(descriptor).st_size
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            self._write_durably(descriptor, size, b"\n" + lines if torn else lines)
        finally:
            os.close(descriptor)
        if size == 0:
            sync_folder(self.folder)

    @staticmethod
    def _write_durably(descriptor: int, size: int, content: bytes) -> None:
        try:
            write_all(descriptor, content)
            os.fsync(descriptor)
        except OSError:
            # All or none: who is told "not stored" must not find half of it replayed. Readers hold the append lock,
            # so none of them has seen these bytes.
            os.ftruncate(descriptor, size)
            raise

    def _next_name(self, names: list[str]) -> str:
        cursor, _ = self.read_cursor()
        last = max([0, *(segment_number(name) for name in names), segment_number(cursor)])
        return f"{max(time.time_ns(), last + 1):020d}{SEGMENT_SUFFIX}"

    def read_cursor(self) -> tuple[str, int]:
        """Up to where the replay has come: (segment, offset in bytes); ``("", 0)`` where it never began."""
        try:
            descriptor = os.open(self.path(CURSOR_FILE), os.O_RDONLY | _OPEN_FLAGS)
        except OSError:
            return "", 0
        try:
            name, _, offset = os.read(descriptor, 256).decode("ascii", "replace").strip().partition(" ")
        finally:
            os.close(descriptor)
        return (name, int(offset)) if offset.isascii() and offset.isdigit() and segment_number(name) else ("", 0)

    def append_lock(self) -> FileLock:
        """Under it nothing is half-written: what a segment holds is durable, or was left by a dead process."""
        return FileLock(self.path(APPEND_LOCK), APPEND_LOCK_WAIT_S)

    def read_from(self, name: str, offset: int) -> bytes:
        """A file's bytes from an offset on."""
        descriptor = os.open(self.path(name), os.O_RDONLY | _OPEN_FLAGS)
        try:
            parts: list[bytes] = []
            while part := os.pread(descriptor, SEGMENT_BYTES_MAX, offset):
                parts.append(part)
                offset += len(part)
            return b"".join(parts)
        finally:
            os.close(descriptor)

    def restore(self) -> bool:
        """Let the events that were set aside as sealed with the now configured key wait again, behind all others."""
        path = self.path(f"{self.sealer().key_id}{ASIDE_SUFFIX}")
        if not os.path.exists(path):  # noqa: PTH110  # as above
            return False
        try:
            with self.append_lock() as locked:
                if not locked:
                    raise SpoolError(f"{self.path(APPEND_LOCK)} was held for {APPEND_LOCK_WAIT_S:g} s")
                os.rename(path, self.path(self._next_name(self.segments())))  # noqa: PTH104  # as above
                sync_folder(self.folder)
        except OSError as error:
            raise SpoolError(f"{path} cannot be taken up again: {error.strerror}") from None
        return True

    def set_aside(self, name: str, content: bytes) -> None:
        """Append to a file of what does not wait any more, durably. Raises SpoolFullError beyond its bound."""
        try:
            self._create_folder()
            descriptor = os.open(self.path(name), os.O_WRONLY | os.O_APPEND | os.O_CREAT | _OPEN_FLAGS, FILE_MODE)
            try:
                if os.fstat(descriptor).st_size + len(content) > SET_ASIDE_BYTES_MAX:
                    raise SpoolFullError(f"{self.path(name)} is full: look at it, then move it away")
                write_all(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SpoolError(f"{self.path(name)} cannot be written: {error.strerror}") from None


def segment_number(name: str) -> int:
    """The number in a segment's name, 0 where it is none."""
    digits = name.removesuffix(SEGMENT_SUFFIX)
    return int(digits) if digits.isascii() and digits.isdigit() else 0


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
