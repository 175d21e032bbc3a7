"""The hook process in the trace of its event.

A hook ends with its agent waiting for it, so it exports nothing: it announces its own span in the ``tracestate`` header
(``hookbus=<id of the span above it, or zeros>``, W3C Trace Context), and the gateway records that span when it answers.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from opentelemetry.trace import get_current_span
from starlette.types import Scope

from hookbus.contracts.events import Event
from hookbus.platform import telemetry

SERVICE: Final = "hook"
AGE_MAX: Final = timedelta(minutes=10)
"""A caller whose event is older replays it: its own span ended long ago."""
_SCOPE_KEY: Final = "hookbus.caller_event"
_STATE: Final = re.compile(rb"(?:^|,)\s*hookbus=([0-9a-f]{16})\s*(?:,|$)")


def note_caller(scope: Scope, event: Event) -> None:
    """Remember which event the request carries, for :func:`record_caller` at its end."""
    scope[_SCOPE_KEY] = event


def record_caller(scope: Scope, began: datetime) -> None:
    """Record the caller's span where it announced one.

    Args:
        scope: the request.
        began: when the gateway took it; a caller whose clock is ahead began then.
    """
    event = scope.get(_SCOPE_KEY)
    state = next((value for name, value in scope["headers"] if name == b"tracestate"), None)
    if state is None or not isinstance(event, Event) or event.traceparent is None:
        return
    announced = _STATE.search(state)
    if announced is None:
        return
    caller = get_current_span(telemetry.extract({"traceparent": event.traceparent})).get_span_context()
    started_at = min(event.time.astimezone(UTC), began)
    if caller.is_valid and began - started_at < AGE_MAX:
        telemetry.record_caller(
            SERVICE,
            f"hook {event.kind}",
            caller,
            parent_span_id=int(announced[1], 16),
            started_at_ns=int(started_at.timestamp() * 1_000_000) * 1_000,
            event_id=event.id,
        )
