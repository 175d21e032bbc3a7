"""When a request is repeated: up to 3 times, 1 s doubling with full jitter, never past a total deadline."""

from __future__ import annotations

import os
import time

from hookbus.client.transport import Reply, TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

RETRIES_MAX = 3
BACKOFF_BASE_S = 1.0
BACKOFF_FACTOR = 2.0
ATTEMPT_MIN_S = 0.05
"""An attempt with less time than this cannot be expected to succeed and is not made."""

RETRIED_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_RANDOM_BITS = 53


def uniform() -> float:
    """A random number in [0, 1), without the import of ``random``."""
    return (int.from_bytes(os.urandom(7), "big") >> 3) / (1 << _RANDOM_BITS)


def wait_s(retry: int, *, left_s: float, retry_after_s: float | None, random: Callable[[], float]) -> float | None:
    """How long to wait before retry number ``retry`` (from 0), or None where another attempt is not worth it.

    ``retry_after_s`` is what the server asked for: it is honoured, or the request given up.
    """
    room_s = left_s - ATTEMPT_MIN_S
    if retry >= RETRIES_MAX or room_s <= 0:
        return None
    jittered_s = random() * min(BACKOFF_BASE_S * BACKOFF_FACTOR**retry, room_s)
    if retry_after_s is None:
        return jittered_s
    return None if retry_after_s > room_s else max(retry_after_s, jittered_s)


def retry_after_s(reply: Reply) -> float | None:
    """The seconds of a ``Retry-After`` header; None where it is absent or a date."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def call(
    attempt: Callable[[], Reply],
    *,
    deadline: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    random: Callable[[], float] = uniform,
) -> Reply:
    """Run ``attempt`` until it brings an answer that is not worth a repetition.

    Returns the last answer; raises the last :class:`TransportError` where the last attempt brought none.
    """
    retry = 0
    while True:
        try:
            reply = attempt()
        except TransportError:
            pause_s = wait_s(retry, left_s=deadline - clock(), retry_after_s=None, random=random)
            if pause_s is None:
                raise
        else:
            if reply.status not in RETRIED_STATUSES:
                return reply
            asked_s = retry_after_s(reply)
            pause_s = wait_s(retry, left_s=deadline - clock(), retry_after_s=asked_s, random=random)
            if pause_s is None:
                return reply
        sleep(pause_s)
        retry += 1
