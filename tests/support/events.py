"""Events for tests: valid ones, with only what a test says made different."""

import os
from datetime import UTC, datetime

from pydantic import JsonValue

from hookbus.contracts.events import Event, Kind, type_of_kind


def unique(prefix: str) -> str:
    """An identifier no other test uses."""
    return f"{prefix}-{os.urandom(6).hex()}"


def hook_event(
    kind: Kind = Kind.PRE_TASK,
    *,
    agent_id: str = "agent",
    event_id: str | None = None,
    session: str | None = None,
    time: datetime | None = None,
    data: dict[str, JsonValue] | None = None,
    project: str | None = None,
) -> Event:
    """A hook event as the gateway publishes it."""
    return Event(
        id=event_id or unique("event"),
        source="tests",
        type=type_of_kind(kind),
        subject=agent_id,
        time=time or datetime.now(UTC),
        session=session,
        project=project,
        data=data or {},
    )
