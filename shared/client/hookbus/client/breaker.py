"""The circuit breaker between hooks: a dead gateway costs two hooks their deadline, and the next ones nothing.

``<data>/breaker`` holds ``1 <endpoint> <failures> <closed until, Unix seconds>`` while the gateway does not answer.
When the time is over one hook asks again, and the others go on without until it has its answer.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FILE = "breaker"
FAILURES_TO_OPEN = 2
"""Calls in a row, each with all its retries, that brought no answer at all."""

OPEN_BASE_S = 5.0
OPEN_MAX_S = 30.0
TRIAL_S = 3.0
"""How long the others wait for the one that asks again: above a hook's own deadline."""

FAILURES_MAX = 1_000
FILE_BYTES_MAX = 1_024
FILE_MODE = 0o600


class Breaker:
    """One process's view of the file. Never raises: what cannot be kept only costs time."""

    def __init__(self, data_dir: str, endpoint: str, clock: Callable[[], float] = time.time) -> None:
        self._path = f"{data_dir}/{FILE}"
        self._endpoint = endpoint
        self._clock = clock
        self._failures = 0

    def wait_s(self) -> float:
        """How long the gateway is not to be asked; 0.0 where it may be."""
        self._failures, until = self._read()
        if self._failures < FAILURES_TO_OPEN:
            return 0.0
        left_s = until - self._clock()
        if 0.0 < left_s <= OPEN_MAX_S:
            return left_s
        self._write(self._failures, TRIAL_S)
        return 0.0

    def failed(self) -> None:
        """A call brought no answer."""
        self._failures = min(self._failures + 1, FAILURES_MAX)
        doublings = min(max(0, self._failures - FAILURES_TO_OPEN), 8)
        self._write(self._failures, min(OPEN_BASE_S * 2**doublings, OPEN_MAX_S))

    def answered(self) -> None:
        """A call brought an answer, whatever it was."""
        if self._failures:
            self._failures = 0
            try:
                os.unlink(self._path)  # noqa: PTH108  # pathlib doubles the start time
            except OSError:
                return

    def _read(self) -> tuple[int, float]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return 0, 0.0
        try:
            words = os.read(descriptor, FILE_BYTES_MAX).decode("ascii", "replace").split()
        except OSError:
            return 0, 0.0
        finally:
            os.close(descriptor)
        if len(words) != 4 or words[0] != "1" or words[1] != self._endpoint or not words[2].isdigit():
            return 0, 0.0
        try:
            return min(int(words[2]), FAILURES_MAX), float(words[3])
        except ValueError:
            return 0, 0.0

    def _write(self, failures: int, seconds: float) -> None:
        content = f"1 {self._endpoint} {failures} {self._clock() + seconds:.3f}\n".encode()
        temporary = f"{self._path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self._path), 0o700, exist_ok=True)  # noqa: PTH103, PTH120  # as above
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)
            os.rename(temporary, self._path)  # noqa: PTH104  # as above
        except OSError:
            return
