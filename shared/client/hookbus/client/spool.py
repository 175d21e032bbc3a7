"""The file fallback: events that wait for the gateway, one fsynced and checksummed line each.

``<data>/spool`` (0700) holds segments ``<number>.seg`` (0600), oldest number first. A line is
``1 <crc32 of what follows, 8 hex digits> <event as compact JSON>``, and with a key configured
``2 <crc32 of what follows> <key id> <sealed event>``. Many processes append at once under ``append.lock``;
what a killed process left half-written is ended by the next line's leading newline and fails its checksum, so it
can neither be sent nor damage its neighbours.
"""

from __future__ import annotations

import errno
import os
import time

from hookbus.client.spool_files import (
    FILE_MODE,
    FOLDER_MODE,
    OPEN_FLAGS,
    SEALED,
    NeededLock,
    SpoolError,
    SpoolFullError,
    append_durably,
    decode_line,
    encode_line,
    sync_folder,
    write_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hookbus.client.sealing import Sealer

SPOOL_BYTES_MAX = 64 * 1024 * 1024
SEGMENT_BYTES_MAX = 1024 * 1024
RECORD_BYTES_MAX = 512 * 1024
SET_ASIDE_BYTES_MAX = 16 * 1024 * 1024
APPEND_LOCK_WAIT_S = 2.0
"""The longest wait for another process; a deadline ends it earlier."""

WRITE_LOCK_WAIT_MIN_S = 0.25
"""What is to be stored waits so long in any case, behind the deadline too: others hold the lock for an fsync. With the
0.5 s that a record has for the gateway it stays within the 1 s after which an agent ends the hook."""

SEGMENT_SUFFIX = ".seg"
APPEND_LOCK = "append.lock"
DRAIN_LOCK = "drain.lock"
CURSOR_FILE = "cursor"
REJECTED_FILE = "rejected.jsonl"
QUARANTINE_FILE = "quarantine.bin"
ASIDE_SUFFIX = ".aside"


class Spool:
    """One spool folder. Nothing is created before the first append.

    ``deadline`` is of ``time.monotonic``: until then other processes are waited for, see :meth:`append_lock`.
    """

    def __init__(
        self,
        folder: str,
        *,
        bytes_max: int = SPOOL_BYTES_MAX,
        key_file: str | None = None,
        deadline: float | None = None,
    ) -> None:
        self.folder = folder
        self.bytes_max = bytes_max
        self.key_file = key_file
        self.deadline = deadline
        self._sealer: Sealer | None = None

    def within(self, deadline: float) -> Spool:
        """The same spool for who has time until ``deadline``."""
        store = Spool(self.folder, bytes_max=self.bytes_max, key_file=self.key_file, deadline=deadline)
        store._sealer = self._sealer
        return store

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
        """Store events durably, all or none. Raises :class:`SpoolFullError` or :class:`SpoolError`.

        The latter too where another process holds the lock too long: an agent ends a hook that waits on.
        """
        if max(map(len, events)) > RECORD_BYTES_MAX:
            raise SpoolError(f"an event is over {RECORD_BYTES_MAX} bytes")
        lines = b"".join(map(self.line_of, events))
        try:
            self._create_folder()
            with self.append_lock(WRITE_LOCK_WAIT_MIN_S):
                self._append_locked(lines)
        except OSError as error:
            raise self._unwritable(self.folder, error) from None

    def _unwritable(self, name: str, error: OSError) -> SpoolError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return SpoolFullError(f"the disk of the spool {self.folder} is full")
        return SpoolError(f"the spool {name} cannot be written: {error.strerror}")

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
        append_durably(self.path(self._next_name(names) if fresh else names[-1]), lines, new=fresh)

    def _next_name(self, names: list[str]) -> str:
        cursor, _ = self.read_cursor()
        last = max([0, *(segment_number(name) for name in names), segment_number(cursor)])
        return f"{max(time.time_ns(), last + 1):020d}{SEGMENT_SUFFIX}"

    def read_cursor(self) -> tuple[str, int]:
        """Up to where the replay has come: (segment, offset in bytes); ``("", 0)`` where it never began."""
        try:
            descriptor = os.open(self.path(CURSOR_FILE), os.O_RDONLY | OPEN_FLAGS)
        except OSError:
            return "", 0
        try:
            name, _, offset = os.read(descriptor, 256).decode("ascii", "replace").strip().partition(" ")
        finally:
            os.close(descriptor)
        return (name, int(offset)) if offset.isascii() and offset.isdigit() and segment_number(name) else ("", 0)

    def write_cursor(self, name: str, offset: int) -> None:
        """Remember the progress. Not fsynced: a lost cursor costs a repeated send under the same ids."""
        temporary = self.path(f"{CURSOR_FILE}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            write_all(descriptor, f"{name} {offset}\n".encode())
        finally:
            os.close(descriptor)
        os.rename(temporary, self.path(CURSOR_FILE))  # noqa: PTH104  # as above

    def append_lock(self, wait_min_s: float = 0.0) -> NeededLock:
        """Under it nothing is half-written: what a file holds is durable, or was left by a dead process.

        Waited for until the deadline, ``wait_min_s`` in any case. Entering raises :class:`SpoolError` after that.
        """
        wait_s = APPEND_LOCK_WAIT_S
        if self.deadline is not None:
            wait_s = min(wait_s, max(wait_min_s, self.deadline - time.monotonic()))
        return NeededLock(self.path(APPEND_LOCK), wait_s)

    def read_from(self, name: str, offset: int) -> bytes:
        """A file's bytes from an offset on."""
        descriptor = os.open(self.path(name), os.O_RDONLY | OPEN_FLAGS)
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
            with self.append_lock():
                os.rename(path, self.path(self._next_name(self.segments())))  # noqa: PTH104  # as above
                sync_folder(self.folder)
        except OSError as error:
            raise SpoolError(f"{path} cannot be taken up again: {error.strerror}") from None
        return True

    def set_aside(self, name: str, lines: bytes) -> None:
        """Append to a file of what does not wait any more, durably, all or none.

        Raises :class:`SpoolFullError` beyond its bound, :class:`SpoolError` where it cannot be done.
        """
        try:
            self._create_folder()
            with self.append_lock(WRITE_LOCK_WAIT_MIN_S):
                self.set_aside_locked(name, lines)
        except OSError as error:
            raise self._unwritable(self.path(name), error) from None

    def set_aside_locked(self, name: str, lines: bytes) -> None:
        """As :meth:`set_aside`, for who holds the append lock. Raises OSError too."""
        path = self.path(name)
        held = os.stat(path).st_size if os.path.exists(path) else 0  # noqa: PTH110, PTH116  # as above
        if held + len(lines) > SET_ASIDE_BYTES_MAX:
            raise SpoolFullError(f"{path} is full: look at it, then move it away")
        append_durably(path, lines)


def segment_number(name: str) -> int:
    """The number in a segment's name, 0 where it is none."""
    digits = name.removesuffix(SEGMENT_SUFFIX)
    return int(digits) if digits.isascii() and digits.isdigit() else 0
