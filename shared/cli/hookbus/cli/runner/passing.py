"""What a command prints, passed on to this process's own output, which may be full, closed or gone."""

import errno
import os
import select
import sys
from contextlib import suppress

from hookbus.cli import output


class Passing:
    """Both streams. Nothing that becomes of them ends the command or its record."""

    def __init__(self) -> None:
        self.problem: str | None = None
        """Why a part of the output was lost, for a person; a reader that has seen enough is no loss."""

    def show(self, stream: str, content: bytes) -> None:
        """Write ``content`` to this process's ``stdout`` or ``stderr``."""
        target = sys.stdout if stream == "stdout" else sys.stderr
        if target is None:  # pyright: ignore[reportUnnecessaryComparison]  # None when the caller closed the descriptor
            return
        # Past Python's own buffer, which would keep what cannot be written and fail once more at the end.
        try:
            _write_all(target.fileno(), content)
        except OSError as error:
            if error.errno != errno.EPIPE:
                self.problem = f"not all of its {stream} could be passed on: {error.strerror or error}"


def complain(message: str) -> None:
    """One line on stderr where there is one."""
    with suppress(OSError, ValueError, AttributeError):
        output.complain(message)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # Another program that shares the terminal has told it not to wait.
            select.select([], [descriptor], [])
