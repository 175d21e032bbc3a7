"""Events that wait to be published: written with the change they tell of, published after its commit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hookbus.budget.repository import Connection

_ADD: Final = """
    INSERT INTO budget.outbox (event_id, subject, event)
    SELECT event_id, subject, event FROM unnest($1::text[], $2::text[], $3::jsonb[]) AS made (event_id, subject, event)
    ON CONFLICT (event_id) DO NOTHING
"""
_WAITING: Final = """
    SELECT event_id, subject, event::text AS event FROM budget.outbox WHERE published_at IS NULL
    ORDER BY created_at LIMIT $1
"""
_PUBLISHED: Final = "UPDATE budget.outbox SET published_at = now() WHERE event_id = ANY($1::text[])"
_PURGE: Final = """
    DELETE FROM budget.outbox WHERE event_id IN (
        SELECT event_id FROM budget.outbox WHERE published_at < now() - make_interval(secs => $1) LIMIT $2
    )
"""


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event with the subject it goes to; ``body`` is CloudEvents JSON."""

    event_id: str
    subject: str
    body: str


async def add(connection: Connection, events: Sequence[OutboxEvent]) -> None:
    """Store events; one whose id is known already is not stored again."""
    await connection.execute(
        _ADD,
        [event.event_id for event in events],
        [event.subject for event in events],
        [event.body for event in events],
    )


async def waiting(connection: Connection, events_max: int) -> list[OutboxEvent]:
    """Events not yet published, the oldest first."""
    rows = await connection.fetch(_WAITING, events_max)
    return [OutboxEvent(row["event_id"], row["subject"], row["event"]) for row in rows]


async def published(connection: Connection, event_ids: Sequence[str]) -> None:
    """Mark events as published. They stay a while: their id is what keeps the same warning from being raised again."""
    await connection.execute(_PUBLISHED, list(event_ids))


async def purge(connection: Connection, age_s: float, events_max: int) -> None:
    """Forget published events older than ``age_s``."""
    await connection.execute(_PURGE, age_s, events_max)
