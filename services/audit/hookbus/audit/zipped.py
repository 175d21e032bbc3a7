"""The parts of an export that is a zip file, read within bounds: whatever it says of itself, memory stays small."""

import struct
import threading
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from hookbus.audit.inspection import FaultError
from hookbus.audit.note import NOTE_BYTES_MAX

PART_BYTES_MAX: Final = 64 * 1024 * 1024
"""No part that is read whole is larger."""
LINE_BYTES_MAX: Final = 4 * NOTE_BYTES_MAX
"""No line of a part that is read line by line is longer: a note in JSON, each character escaped."""
COMPRESSIONS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""The others unpack without a bound."""

_ERRORS: Final = (
    KeyError,
    ValueError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""What a file that is no zip, or a damaged one, makes the library raise."""


class ZippedParts:
    """The parts of one file, by name."""

    def __init__(self, path: Path) -> None:
        """Raises FaultError where the file is no zip."""
        try:
            self._zip = zipfile.ZipFile(path)
        except _ERRORS as error:
            raise FaultError(None, f"{path} is not an exported log") from error
        # Opening and closing a part is not for two threads at once; reading from two open ones is.
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def holds(self, name: str) -> bool:
        """Whether the file has a part of this name."""
        return name in self._zip.NameToInfo

    def read(self, name: str) -> bytes:
        """A whole part; raises FaultError where it is absent, damaged or too large."""
        with self._opened(name) as (stream, size):
            if size > PART_BYTES_MAX:
                raise FaultError(None, f"{name} is larger than any part of a log")
            # One byte more than the file declares: a part that holds more is cut there, and its checksum does not hold.
            return stream.read(size + 1)

    def lines(self, name: str) -> Iterator[bytes]:
        """A part line by line, however long it is; raises FaultError where it is absent or damaged."""
        with self._opened(name) as (stream, _):
            while line := stream.readline(LINE_BYTES_MAX + 1):
                if len(line) > LINE_BYTES_MAX:
                    raise FaultError(None, f"{name} has a line that is longer than any note")
                yield line

    @contextmanager
    def _opened(self, name: str) -> Generator[tuple[IO[bytes], int]]:
        """A part as a stream, and the size it is declared to have."""
        try:
            with self._lock:
                info = self._zip.getinfo(name)
                if info.compress_type not in COMPRESSIONS:
                    raise FaultError(None, f"{name} is compressed in a way no export is")
                stream = self._zip.open(info)
            try:
                yield stream, info.file_size
            finally:
                with self._lock:
                    stream.close()
        except _ERRORS as error:
            raise FaultError(None, f"{name} is missing or damaged") from error
