"""SQL of the evidence against people's sessions: columns of ``session.person_sessions``, and their signals."""

import json
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.session.domain.pace import Pace
from hookbus.session.domain.person_risk import Evidence, Facts
from hookbus.session.domain.places import Place, Placed
from hookbus.session.repository.sessions import signal_of

_READ: Final = text("""
    SELECT sid, username, address, user_agent_family, header_names, last_seen_at, place_name, place_latitude,
        place_longitude, placed_at, pace, risk, confirm_since
    FROM session.person_sessions WHERE sid = :sid
""")
_SIGNALS: Final = text("""
    SELECT code, key, weight, evidence, words, occurrences, seen_at, cleared_at
    FROM session.person_signals WHERE session_id = :sid
""")
_SAVE: Final = text("""
    UPDATE session.person_sessions SET
        address = :address, user_agent_family = :user_agent_family, header_names = CAST(:header_names AS text[]),
        last_address = coalesce(CAST(:last_address AS text), last_address), last_seen_at = :last_seen_at,
        place_name = :place_name, place_latitude = :place_latitude, place_longitude = :place_longitude,
        placed_at = :placed_at, pace = CAST(:pace AS jsonb), risk = :risk,
        bucket_synced = bucket_synced AND confirm_since IS NOT DISTINCT FROM CAST(:confirm_since AS timestamptz),
        confirm_since = :confirm_since
    WHERE sid = :sid
""")
_SAVE_SIGNAL: Final = text("""
    INSERT INTO session.person_signals
        (session_id, code, key, weight, evidence, words, occurrences, seen_at, cleared_at)
    VALUES (:sid, :code, :key, :weight, :evidence, :words, :occurrences, :seen_at, :cleared_at)
    ON CONFLICT (session_id, code, key) DO UPDATE SET
        weight = excluded.weight, evidence = excluded.evidence, words = excluded.words,
        occurrences = excluded.occurrences, seen_at = excluded.seen_at, cleared_at = excluded.cleared_at
""")
_LAST_PLACED: Final = text("""
    SELECT place_name, place_latitude, place_longitude, placed_at FROM session.person_sessions
    WHERE username = :username AND placed_at IS NOT NULL ORDER BY placed_at DESC LIMIT 1
""")


async def read(connection: AsyncConnection, sid: str) -> Evidence:
    """The evidence against a session that exists; whoever is about to change it holds its row's lock."""
    row = (await connection.execute(_READ, {"sid": sid})).mappings().one()
    signals = (await connection.execute(_SIGNALS, {"sid": sid})).mappings()
    return Evidence(
        sid=row["sid"],
        username=row["username"],
        baseline=Facts(row["address"], row["user_agent_family"], tuple(row["header_names"])),
        last_seen_at=row["last_seen_at"],
        placed=_placed(row),
        refreshes=Pace.read(row["pace"]),
        signals=tuple(signal_of(one) for one in signals),
        risk=row["risk"],
        confirm_since=row["confirm_since"],
    )


async def save(connection: AsyncConnection, evidence: Evidence, *, address: str | None) -> None:
    """Store the evidence, and where the client was last unless ``address`` is None. Where the need for a password
    changed, the bucket lacks the latest from now on."""
    placed = evidence.placed
    await connection.execute(
        _SAVE,
        {
            "sid": evidence.sid,
            "address": evidence.baseline.address,
            "user_agent_family": evidence.baseline.user_agent,
            "header_names": list(evidence.baseline.headers),
            "last_address": address,
            "last_seen_at": evidence.last_seen_at,
            "place_name": None if placed is None else placed.place.name,
            "place_latitude": None if placed is None else placed.place.latitude,
            "place_longitude": None if placed is None else placed.place.longitude,
            "placed_at": None if placed is None else placed.at,
            "pace": json.dumps(evidence.refreshes.stored()),
            "risk": evidence.risk,
            "confirm_since": evidence.confirm_since,
        },
    )
    for signal in evidence.signals:
        await connection.execute(
            _SAVE_SIGNAL,
            {
                "sid": evidence.sid,
                "code": signal.code.value,
                "key": signal.key,
                "weight": signal.weight,
                "evidence": signal.evidence,
                "words": signal.words,
                "occurrences": signal.occurrences,
                "seen_at": signal.seen_at,
                "cleared_at": signal.cleared_at,
            },
        )


async def last_placed(connection: AsyncConnection, username: str) -> Placed | None:
    """Where a user was last, in any of their sessions."""
    row = (await connection.execute(_LAST_PLACED, {"username": username})).mappings().one_or_none()
    return None if row is None else _placed(row)


def _placed(row: RowMapping) -> Placed | None:
    at: datetime | None = row["placed_at"]
    if at is None:
        return None
    return Placed(Place(row["place_name"] or "", row["place_latitude"], row["place_longitude"]), at)
