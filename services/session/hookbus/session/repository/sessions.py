"""SQL of ``session.sessions``, ``session.assessments`` and ``session.counted_events``."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.session import SessionState
from hookbus.session.domain.burst import Bursts
from hookbus.session.domain.risk import Baseline, Signal, SignalCode
from hookbus.session.domain.sessions import Session
from hookbus.session.repository import Row

_COLUMNS: Final = """
    s.id, s.agent_id, s.project, s.risk, s.baseline_host, s.baseline_user, s.baseline_agent_version, s.opened_at,
    s.last_seen_at, s.events, s.active_at, s.ended_at, s.killed_at, s.killed_by, s.kill_reason,
    s.baseline_network, s.pace, s.version
"""

READ: Final = f"""
    SELECT {_COLUMNS}, a.code, a.key, a.weight, a.evidence, a.words, a.occurrences, a.seen_at, a.cleared_at
    FROM session.sessions s LEFT JOIN session.assessments a ON a.session_id = s.id
    WHERE s.id = ANY(CAST(:ids AS text[])) ORDER BY s.id
"""  # noqa: S608 - a constant list of columns
_READ: Final = text(READ)

_LOCK: Final = text("SELECT id FROM session.sessions WHERE id = ANY(CAST(:ids AS text[])) ORDER BY id FOR UPDATE")

_COUNT_ONCE: Final = text("""
    INSERT INTO session.counted_events (stream, event_id, kept_until)
    SELECT :stream, id, until FROM unnest(CAST(:ids AS text[]), CAST(:until AS timestamptz[])) AS new (id, until)
    ORDER BY id ON CONFLICT DO NOTHING RETURNING event_id
""")

_FORGET_COUNTED: Final = text("""
    DELETE FROM session.counted_events WHERE (stream, event_id) IN (
        SELECT stream, event_id FROM session.counted_events WHERE kept_until < :now ORDER BY kept_until LIMIT :items_max
    )
""")

_OPEN: Final = text("""
    INSERT INTO session.sessions (id, agent_id, opened_at, last_seen_at, risk)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:agent_ids AS text[]), CAST(:opened AS timestamptz[]),
                         CAST(:seen AS timestamptz[]), CAST(:risks AS float8[])) AS new (id, a, o, s, r) ORDER BY id
    ON CONFLICT (id) DO NOTHING
""")

_SAVE: Final = text("""
    UPDATE session.sessions s SET
        project = new.project, risk = new.risk, baseline_host = new.host, baseline_user = new.usr,
        baseline_agent_version = new.agent_version, last_seen_at = new.last_seen_at, events = new.events,
        active_at = new.active_at, ended_at = new.ended_at, killed_at = new.killed_at, killed_by = new.killed_by,
        kill_reason = new.kill_reason, baseline_network = new.network, pace = new.pace, version = s.version + 1
    FROM unnest(
        CAST(:ids AS text[]), CAST(:projects AS text[]), CAST(:risks AS float8[]), CAST(:hosts AS text[]),
        CAST(:users AS text[]), CAST(:versions AS text[]), CAST(:seen AS timestamptz[]), CAST(:events AS bigint[]),
        CAST(:active AS timestamptz[]), CAST(:ended AS timestamptz[]), CAST(:killed AS timestamptz[]),
        CAST(:killers AS text[]), CAST(:reasons AS text[]), CAST(:networks AS text[]), CAST(:paces AS jsonb[])
    ) AS new (id, project, risk, host, usr, agent_version, last_seen_at, events, active_at, ended_at, killed_at,
              killed_by, kill_reason, network, pace)
    WHERE s.id = new.id
""")

_SAVE_SIGNALS: Final = text("""
    INSERT INTO session.assessments
        (session_id, code, key, weight, evidence, words, occurrences, seen_at, cleared_at)
    SELECT * FROM unnest(
        CAST(:ids AS text[]), CAST(:codes AS text[]), CAST(:keys AS text[]), CAST(:weights AS float8[]),
        CAST(:evidences AS text[]), CAST(:words AS text[]), CAST(:occurrences AS integer[]),
        CAST(:seen AS timestamptz[]), CAST(:cleared AS timestamptz[])
    )
    ON CONFLICT (session_id, code, key) DO UPDATE SET
        weight = excluded.weight, evidence = excluded.evidence, words = excluded.words,
        occurrences = excluded.occurrences, seen_at = excluded.seen_at, cleared_at = excluded.cleared_at
""")

_LIST: Final = text(f"""
    SELECT {_COLUMNS} FROM session.sessions s
    WHERE (CAST(:agent_id AS text) IS NULL OR s.agent_id = :agent_id)
      AND (CAST(:state AS text) IS NULL OR s.state = :state)
      AND s.risk >= :risk_min
      AND (CAST(:before_seen AS timestamptz) IS NULL
           OR (s.last_seen_at, s.id) < (CAST(:before_seen AS timestamptz), CAST(:before_id AS text)))
    ORDER BY s.last_seen_at DESC, s.id DESC LIMIT :items_max
""")  # noqa: S608 - a constant list of columns


async def count_once(connection: AsyncConnection, stream: str, events: Mapping[str, datetime]) -> frozenset[str]:
    """Mark events as counted, each until its moment; returns those that were not before. Ids are per stream: a hook
    event cannot take a security event's id and so hide it."""
    ids = sorted(events)
    parameters = {"stream": stream, "ids": ids, "until": [events[name] for name in ids]}
    rows = await connection.execute(_COUNT_ONCE, parameters)
    return frozenset(str(row.event_id) for row in rows)


async def forget_counted(connection: AsyncConnection, *, now: datetime, items_max: int) -> int:
    """Forget events that are kept no longer; returns how many."""
    return (await connection.execute(_FORGET_COUNTED, {"now": now, "items_max": items_max})).rowcount


async def read(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, Session]:
    """The sessions that exist, with their evidence, in one statement."""
    return found_in((await connection.execute(_READ, {"ids": list(ids)})).mappings())


def found_in(rows: Iterable[Row]) -> dict[str, Session]:
    """Sessions with their evidence, from the rows of :data:`READ`."""
    found: dict[str, Session] = {}
    for session_id, group in groupby(rows, key=lambda row: str(row["id"])):
        members = list(group)
        signals = tuple(signal_of(row) for row in members if row["code"] is not None)
        found[session_id] = _session(members[0], signals)
    return found


async def lock(connection: AsyncConnection, ids: Iterable[str]) -> dict[str, Session]:
    """The same, their rows locked in the order of their ids until the transaction ends.

    Two statements on purpose: after a wait for a lock, one joined statement would see the evidence of before the wait.
    """
    wanted = sorted(set(ids))
    await connection.execute(_LOCK, {"ids": wanted})
    return await read(connection, wanted)


async def open_absent(connection: AsyncConnection, sessions: Iterable[Session]) -> None:
    """Insert the sessions that do not exist yet."""
    new = list(sessions)
    if new:
        await connection.execute(
            _OPEN,
            {
                "ids": [s.id for s in new],
                "agent_ids": [s.agent_id for s in new],
                "opened": [s.opened_at for s in new],
                "seen": [s.last_seen_at for s in new],
                "risks": [s.risk for s in new],
            },
        )


async def save(connection: AsyncConnection, sessions: Iterable[Session]) -> Sequence[Session]:
    """Write locked sessions back with their evidence; returns them with the version they have now."""
    changed = list(sessions)
    if not changed:
        return ()
    await connection.execute(
        _SAVE,
        {
            "ids": [s.id for s in changed],
            "projects": [s.project for s in changed],
            "risks": [s.risk for s in changed],
            "hosts": [s.baseline.host for s in changed],
            "users": [s.baseline.user for s in changed],
            "versions": [s.baseline.agent_version for s in changed],
            "seen": [s.last_seen_at for s in changed],
            "events": [s.events for s in changed],
            "active": [s.active_at for s in changed],
            "ended": [s.ended_at for s in changed],
            "killed": [s.killed_at for s in changed],
            "killers": [s.killed_by for s in changed],
            "reasons": [s.kill_reason for s in changed],
            "networks": [s.baseline.network for s in changed],
            "paces": [json.dumps(s.bursts.stored()) for s in changed],
        },
    )
    signals = [(s.id, signal) for s in changed for signal in s.signals]
    if signals:
        await connection.execute(
            _SAVE_SIGNALS,
            {
                "ids": [session_id for session_id, _ in signals],
                "codes": [s.code.value for _, s in signals],
                "keys": [s.key for _, s in signals],
                "weights": [s.weight for _, s in signals],
                "evidences": [s.evidence for _, s in signals],
                "words": [s.words for _, s in signals],
                "occurrences": [s.occurrences for _, s in signals],
                "seen": [s.seen_at for _, s in signals],
                "cleared": [s.cleared_at for _, s in signals],
            },
        )
    return [replace(session, version=session.version + 1) for session in changed]


async def page(
    connection: AsyncConnection,
    *,
    agent_id: str | None,
    state: SessionState | None,
    risk_min: float,
    before: tuple[datetime, str] | None,
    items_max: int,
) -> Sequence[Session]:
    """Sessions without their evidence, newest last-seen first, those after ``before`` in that order."""
    parameters = {
        "agent_id": agent_id,
        "state": None if state is None else state.value,
        "risk_min": risk_min,
        "before_seen": None if before is None else before[0],
        "before_id": None if before is None else before[1],
        "items_max": items_max,
    }
    rows = (await connection.execute(_LIST, parameters)).mappings().all()
    return [_session(row, ()) for row in rows]


def _session(row: Row, signals: tuple[Signal, ...]) -> Session:
    return Session(
        id=row["id"],
        agent_id=row["agent_id"],
        opened_at=row["opened_at"],
        last_seen_at=row["last_seen_at"],
        project=row["project"],
        baseline=Baseline(
            row["baseline_host"], row["baseline_user"], row["baseline_agent_version"], row["baseline_network"]
        ),
        risk=row["risk"],
        events=row["events"],
        active_at=row["active_at"],
        ended_at=row["ended_at"],
        killed_at=row["killed_at"],
        killed_by=row["killed_by"],
        kill_reason=row["kill_reason"],
        bursts=Bursts.read(row["pace"]),
        signals=signals,
        version=row["version"],
    )


def signal_of(row: Row) -> Signal:
    """A row of signals, of an agent's session or a person's."""
    return Signal(
        code=SignalCode(row["code"]),
        key=row["key"],
        weight=row["weight"],
        evidence=row["evidence"],
        words=row["words"],
        occurrences=row["occurrences"],
        seen_at=row["seen_at"],
        cleared_at=row["cleared_at"],
    )
