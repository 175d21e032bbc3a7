"""A pre-task does not overtake what waits of its own session: that is sent first, within a part of the deadline.

Imported only when something waits. A session of which nothing waits is decided at once, and what waits of others is
sent after the answer.
"""

from __future__ import annotations

import time

from hookbus.client.compactjson import dumps
from hookbus.client.drain import drain
from hookbus.client.spool_files import SEALED, SpoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.gateway import Gateway
    from hookbus.client.spool import Spool

SHARE_OF_DEADLINE = 0.4
"""What the replay may take of the time a decision has; the agent waits for both."""

OVERTAKES = "overtakes_spooled"
"""In the data of a pre-task that was decided while earlier events of its session still waited."""


def send_first(
    store: Spool, gateway: Gateway, event: dict[str, Any], deadline: float, *, events_max: int
) -> dict[str, Any]:
    """Send what waits of the event's session, ``events_max`` at a time; the event, marked where some has to wait on.

    Never raises: what cannot be read or sent waits, and the decision is asked for all the same.
    """
    session = event.get("session")
    if session is None:
        return event
    now = time.monotonic()
    until = now + SHARE_OF_DEADLINE * max(0.0, deadline - now)
    try:
        while waits(store, session):
            left_s = until - time.monotonic()
            if left_s <= 0:
                return _marked(event)
            report = drain(
                store,
                lambda batch: gateway.publish(batch, deadline=until, retries=False),
                events_max=events_max,
                deadline=until,
                wait_s=left_s,
            )
            if report.error is not None or report.busy:
                return _marked(event)
    except (SpoolError, OSError):
        return _marked(event)
    return event


def waits(store: Spool, session: str) -> bool:
    """Whether an event of a session waits. A sealed one may be of any session."""
    name = b'"session":' + dumps(session)
    segment, offset = store.read_cursor()
    for each in store.segments():
        try:
            content = store.read_from(each, offset if each == segment else 0)
        except FileNotFoundError:
            continue  # another process has just sent the last of it
        if name in content or content.startswith(SEALED) or b"\n" + SEALED in content:
            return True
    return False


def _marked(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "data": {**event["data"], OVERTAKES: True}}
