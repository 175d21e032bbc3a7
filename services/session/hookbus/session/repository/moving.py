"""SQL of the hot path, as asyncpg's own statements: sessions read for decisions, and sessions that only move on.

``session.refuse()`` fails the statement that calls it, so that none of it is committed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from hookbus.session.domain.sessions import Session
from hookbus.session.repository import DriverConnection
from hookbus.session.repository.sessions import READ, found_in

_READ: Final = READ.replace(":ids", "$1")

# Ids first, then sessions in the order of theirs: as in every other transaction, so that none waits for another in a
# circle. Each step reads the one before it, which is what gives them an order.
_MOVE_ON: Final = """
    WITH counted AS (
        INSERT INTO session.counted_events (stream, event_id, kept_until)
        SELECT $1, new.id, new.until FROM unnest($2::text[], $3::timestamptz[]) AS new (id, until) ORDER BY new.id
        RETURNING event_id
    ), locked AS (
        SELECT s.id FROM session.sessions s
        WHERE s.id = ANY($4::text[]) AND (SELECT count(*) FROM counted) > 0 ORDER BY s.id FOR UPDATE
    ), saved AS (
        UPDATE session.sessions s SET
            project = new.project, baseline_host = new.host, baseline_user = new.usr,
            baseline_agent_version = new.agent_version, baseline_network = new.network, events = new.events,
            last_seen_at = new.last_seen_at, active_at = new.active_at, ended_at = new.ended_at, pace = new.pace,
            version = new.version + 1
        FROM locked JOIN unnest(
            $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[],
            $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::jsonb[]
        ) AS new (id, version, project, host, usr, agent_version, network, events, last_seen_at, active_at, ended_at,
                  pace) ON new.id = locked.id
        WHERE s.id = locked.id AND s.version = new.version
        RETURNING s.id
    )
    SELECT CASE WHEN (SELECT count(*) FROM saved) = cardinality($4::text[]) THEN true ELSE session.refuse() END
"""


async def read(connection: DriverConnection, ids: Iterable[str]) -> dict[str, Session]:
    """The sessions that exist, with their evidence."""
    return found_in(await connection.fetch(_READ, list(ids)))


async def move_on(
    connection: DriverConnection, stream: str, events: Mapping[str, datetime], sessions: Sequence[Session]
) -> None:
    """Count events, each until its moment, and save what they made of their sessions: all of it or nothing.

    Args:
        connection: outside any transaction.
        stream: where the events came from.
        events: ids with how long each is remembered as counted.
        sessions: as they are now, each with the version it had before; their evidence is not written.

    Raises:
        asyncpg.SerializationError: one of the sessions was changed meanwhile, or is gone.
        asyncpg.UniqueViolationError: one of the events was counted before.
    """
    await connection.fetchval(
        _MOVE_ON,
        stream,
        list(events),
        list(events.values()),
        [s.id for s in sessions],
        [s.version for s in sessions],
        [s.project for s in sessions],
        [s.baseline.host for s in sessions],
        [s.baseline.user for s in sessions],
        [s.baseline.agent_version for s in sessions],
        [s.baseline.network for s in sessions],
        [s.events for s in sessions],
        [s.last_seen_at for s in sessions],
        [s.active_at for s in sessions],
        [s.ended_at for s in sessions],
        [json.dumps(s.bursts.stored()) for s in sessions],
    )
