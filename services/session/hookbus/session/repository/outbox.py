"""SQL of ``session.outbox``: security events committed with the change they tell of, until the bus has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.events import Event

_INSERT: Final = text("INSERT INTO session.outbox (subject, body) VALUES (:subject, :body)")
_LOCK: Final = text("SELECT id, subject, body FROM session.outbox ORDER BY id LIMIT :items_max FOR UPDATE SKIP LOCKED")
_DELETE: Final = text("DELETE FROM session.outbox WHERE id = ANY(CAST(:ids AS bigint[]))")


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event the bus does not have yet."""

    id: int
    subject: str
    event: Event


async def add(connection: AsyncConnection, event: Event, subject: str) -> None:
    """Queue an event in the caller's transaction."""
    await connection.execute(_INSERT, {"subject": subject, "body": event.to_wire()})


async def lock_oldest(connection: AsyncConnection, *, items_max: int) -> Sequence[Waiting]:
    """The oldest queued events, locked; those another process publishes are left out."""
    rows = (await connection.execute(_LOCK, {"items_max": items_max})).mappings()
    return [Waiting(row["id"], row["subject"], Event.model_validate_json(row["body"])) for row in rows]


async def delete(connection: AsyncConnection, ids: Sequence[int]) -> None:
    """Forget events the bus has stored."""
    await connection.execute(_DELETE, {"ids": list(ids)})
