"""Every SQL statement of the trace store."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.traces import Span, TraceListRequest, TraceSummary

SPANS_PER_REPLY_MAX: Final = 1_000
"""A trace with more is cut: one reply must fit one message of the bus."""
TRACES_PER_PRUNE_MAX: Final = 1_000
"""Deleted in one statement; the pruner repeats until none is left."""

# Spans that were stored before (an export repeated by its sender) count for nothing.
_STORE: Final = text("""
    WITH stored AS (
        INSERT INTO traces.spans (trace_id, span_id, parent_span_id, service, name, kind, started_at, duration_us,
            status, status_message, event_id, attributes)
        SELECT decode(trace_id, 'hex'), decode(span_id, 'hex'), decode(parent_span_id, 'hex'), service, name, kind,
            started_at, duration_us, status, status_message, event_id, attributes
        FROM jsonb_to_recordset(CAST(:spans AS jsonb)) AS given (trace_id text, span_id text, parent_span_id text,
            service text, name text, kind text, started_at timestamptz, duration_us bigint, status text,
            status_message text, event_id text, attributes jsonb)
        ON CONFLICT DO NOTHING
        RETURNING trace_id, name, started_at, duration_us, status, event_id, attributes
    )
    INSERT INTO traces.traces AS known (trace_id, event_id, name, started_at, ended_at, spans, has_error,
        agent_id, decision)
    SELECT trace_id, min(event_id), (array_agg(name ORDER BY started_at))[1], min(started_at),
        max(started_at + duration_us * interval '1 microsecond'), count(*), bool_or(status = 'error'),
        min(attributes ->> 'hookbus.agent_id'), min(attributes ->> 'hookbus.decision')
    FROM stored GROUP BY trace_id ORDER BY trace_id
    ON CONFLICT (trace_id) DO UPDATE SET
        event_id = coalesce(known.event_id, excluded.event_id),
        name = CASE WHEN excluded.started_at < known.started_at THEN excluded.name ELSE known.name END,
        started_at = least(known.started_at, excluded.started_at),
        ended_at = greatest(known.ended_at, excluded.ended_at),
        spans = known.spans + excluded.spans,
        has_error = known.has_error OR excluded.has_error,
        agent_id = coalesce(known.agent_id, excluded.agent_id),
        decision = coalesce(known.decision, excluded.decision)
""")
_TRACE_OF_EVENT: Final = text("""
    SELECT encode(trace_id, 'hex') FROM traces.spans WHERE event_id = :event_id ORDER BY started_at DESC LIMIT 1
""")
_SPANS: Final = text("""
    SELECT encode(trace_id, 'hex') AS trace_id, encode(span_id, 'hex') AS span_id,
        encode(parent_span_id, 'hex') AS parent_span_id, service, name, kind, started_at, duration_us, status,
        status_message, event_id, attributes
    FROM traces.spans WHERE trace_id = decode(:trace_id, 'hex') ORDER BY started_at, span_id LIMIT :items_max
""")
_LIST: Final = text("""
    SELECT encode(trace_id, 'hex') AS trace_id, event_id, name, started_at,
        (extract(epoch FROM ended_at - started_at) * 1000000)::bigint AS duration_us, spans, has_error, agent_id,
        decision
    FROM traces.traces
    WHERE (CAST(:before_start AS timestamptz) IS NULL
       OR (started_at, trace_id) < (CAST(:before_start AS timestamptz), decode(CAST(:before_id AS text), 'hex')))
      AND (CAST(:since AS timestamptz) IS NULL OR started_at >= CAST(:since AS timestamptz))
      AND (CAST(:until AS timestamptz) IS NULL OR started_at < CAST(:until AS timestamptz))
      AND (CAST(:agent_id AS text) IS NULL OR agent_id = CAST(:agent_id AS text))
      AND (CAST(:duration_min AS interval) IS NULL OR ended_at - started_at >= CAST(:duration_min AS interval))
      AND (CAST(:status AS text) IS NULL OR CAST(:status AS text) = CASE WHEN has_error THEN 'error'
            WHEN decision IN ('deny', 'ask') THEN 'objection' ELSE 'ok' END)
    ORDER BY started_at DESC, traces.trace_id DESC LIMIT :items_max
""")
_PRUNE_BY_AGE: Final = text("""
    DELETE FROM traces.traces WHERE trace_id IN (
        SELECT trace_id FROM traces.traces WHERE started_at < now() - CAST(:age_max AS interval)
        ORDER BY started_at LIMIT :traces_max)
""")
# From the newest on, traces are kept until their spans fill the bound.
_PRUNE_BY_COUNT: Final = text("""
    DELETE FROM traces.traces WHERE trace_id IN (
        SELECT trace_id FROM (
            SELECT trace_id, started_at, sum(spans) OVER (ORDER BY started_at DESC, trace_id DESC) AS spans_so_far
            FROM traces.traces) AS counted
        WHERE spans_so_far > :spans_max ORDER BY started_at LIMIT :traces_max)
""")


async def store(connection: AsyncConnection, spans: Sequence[Span]) -> None:
    """Add spans; known ones change nothing."""
    rows = "[" + ",".join(span.model_dump_json() for span in spans) + "]"
    await connection.execute(_STORE, {"spans": rows})


async def trace_of_event(connection: AsyncConnection, event_id: str) -> str | None:
    """The trace an event was last seen in, 32 hex digits."""
    return (await connection.execute(_TRACE_OF_EVENT, {"event_id": event_id})).scalar_one_or_none()


async def spans_of(connection: AsyncConnection, trace_id: str) -> list[Span]:
    """The spans of a trace by start time: at most one more than ``SPANS_PER_REPLY_MAX``."""
    rows = await connection.execute(_SPANS, {"trace_id": trace_id, "items_max": SPANS_PER_REPLY_MAX + 1})
    return [Span.model_validate(_plain(row)) for row in rows.mappings()]


async def newest(
    connection: AsyncConnection, request: TraceListRequest, *, before: tuple[datetime, str] | None
) -> list[TraceSummary]:
    """Traces that fit ``request`` and began before ``before`` (start, trace id), newest first."""
    start, trace_id = before or (None, None)
    wanted = {
        "since": request.since,
        "until": request.until,
        "agent_id": request.agent_id,
        "duration_min": None if request.duration_min_ms is None else timedelta(milliseconds=request.duration_min_ms),
        "status": request.status,
        "before_start": start,
        "before_id": trace_id,
        "items_max": request.page_items_max,
    }
    rows = await connection.execute(_LIST, wanted)
    return [TraceSummary.model_validate(dict(row)) for row in rows.mappings()]


async def prune(connection: AsyncConnection, *, age_max: timedelta, spans_max: int) -> int:
    """Delete some of what is too old or too much, oldest first; how many traces went (0: nothing is left to do)."""
    by_age = await connection.execute(_PRUNE_BY_AGE, {"age_max": age_max, "traces_max": TRACES_PER_PRUNE_MAX})
    by_count = await connection.execute(_PRUNE_BY_COUNT, {"spans_max": spans_max, "traces_max": TRACES_PER_PRUNE_MAX})
    return by_age.rowcount + by_count.rowcount


def _plain(row: RowMapping) -> dict[str, Any]:
    values = dict(row)
    attributes = values["attributes"]
    return values | {"attributes": json.loads(attributes) if isinstance(attributes, str) else attributes}
