"""A disk that fills up, for the files of this process."""

import resource
from collections.abc import Generator
from contextlib import contextmanager

NO_ROOM = "File too large"
"""What the operating system says."""


@contextmanager
def room(size_bytes: int) -> Generator[None]:
    """No file grows beyond so many bytes: the write that would is cut short without an error, the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
