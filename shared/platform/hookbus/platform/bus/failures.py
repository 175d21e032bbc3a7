"""Which failures lie outside a request or an event: its store is away, say, and the same work may succeed later."""

from collections.abc import Callable

MayPass = Callable[[BaseException], bool]
"""Whether the same work may succeed later, although it failed with this."""


def nothing_passes(_error: BaseException) -> bool:
    """The answer of a service that knows of no such failure."""
    return False
