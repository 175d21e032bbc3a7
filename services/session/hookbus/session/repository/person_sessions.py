"""SQL of ``session.person_sessions``: logins, and the state of each one's refresh token."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.people import ClientFacts, Role
from hookbus.contracts.session import SessionState
from hookbus.session.domain.people import PersonSession, SessionOfUser

_COLUMNS: Final = (
    "s.sid, s.username, s.epoch, s.generation, s.current_sha256, s.previous_sha256, s.salt, s.rotated_at,"
    " s.opened_at, s.expires_at, s.ended_at, s.last_seen_at, s.risk, s.confirm_since, s.ended_by, s.end_reason,"
    " u.role, u.must_change_password"
)
_FROM: Final = f"SELECT {_COLUMNS} FROM session.person_sessions s JOIN session.users u USING (username)"  # noqa: S608 - constant columns

_FIND: Final = text(f"{_FROM} WHERE s.sid = :sid")
_LOCK: Final = text(f"{_FROM} WHERE s.sid = :sid FOR UPDATE OF s")
_LOCK_LIVE: Final = text(f"""
    {_FROM} WHERE s.username = :username AND s.ended_at IS NULL AND s.expires_at > :now ORDER BY s.sid FOR UPDATE OF s
""")
_LOCK_UNSYNCED: Final = text(f"""
    {_FROM} WHERE NOT s.bucket_synced ORDER BY s.sid LIMIT :items_max FOR UPDATE OF s SKIP LOCKED
""")
_LOCK_PAGE: Final = text(f"""
    {_FROM} WHERE s.sid > :after AND s.expires_at > now() ORDER BY s.sid LIMIT :items_max FOR UPDATE OF s
""")
_INSERT: Final = text("""
    INSERT INTO session.person_sessions (sid, username, epoch, generation, current_sha256, salt, rotated_at, opened_at,
        expires_at, address, user_agent, user_agent_family, header_names, last_address, last_seen_at)
    VALUES (:sid, :username, :epoch, :generation, :current_sha256, :salt, :rotated_at, :opened_at, :expires_at,
        :address, :user_agent, :user_agent_family, CAST(:header_names AS text[]), :address, :opened_at)
""")
_ROTATE: Final = text("""
    UPDATE session.person_sessions SET epoch = :epoch, generation = :generation, current_sha256 = :current_sha256,
        previous_sha256 = :previous_sha256, salt = :salt, rotated_at = :rotated_at
    WHERE sid = :sid AND generation = :before AND ended_at IS NULL
""")
_END: Final = text("""
    UPDATE session.person_sessions SET ended_at = :at, end_reason = :reason, ended_by = :by, bucket_synced = false
    WHERE sid = ANY(CAST(:sids AS text[])) AND ended_at IS NULL
""")
_UNSYNC: Final = text("UPDATE session.person_sessions SET bucket_synced = false WHERE sid = :sid")
_MARK_SYNCED: Final = text(
    "UPDATE session.person_sessions SET bucket_synced = true WHERE sid = ANY(CAST(:sids AS text[]))"
)
_COUNT_LIVE: Final = text("""
    SELECT username, count(*) AS live FROM session.person_sessions
    WHERE ended_at IS NULL AND expires_at > :now GROUP BY username
""")

_LIST: Final = text(f"""
    {_FROM}
    WHERE (CAST(:username AS text) IS NULL OR s.username = :username)
      AND (CAST(:state AS text) IS NULL OR CAST(:state AS text) = CASE
              WHEN s.ended_at IS NOT NULL AND s.ended_by IS NOT NULL THEN 'killed'
              WHEN s.ended_at IS NOT NULL OR s.expires_at <= :now THEN 'ended'
              ELSE 'active'
          END)
      AND s.risk >= :risk_min
      AND (CAST(:before_seen AS timestamptz) IS NULL
           OR (s.last_seen_at, s.sid) < (CAST(:before_seen AS timestamptz), CAST(:before_id AS text)))
    ORDER BY s.last_seen_at DESC, s.sid DESC LIMIT :items_max
""")


async def find(connection: AsyncConnection, sid: str) -> SessionOfUser | None:
    """A session, ended or not."""
    row = (await connection.execute(_FIND, {"sid": sid})).mappings().one_or_none()
    return None if row is None else _session(row)


async def lock(connection: AsyncConnection, sid: str) -> SessionOfUser | None:
    """A session, its row locked until the transaction ends."""
    row = (await connection.execute(_LOCK, {"sid": sid})).mappings().one_or_none()
    return None if row is None else _session(row)


async def lock_live(connection: AsyncConnection, username: str, now: datetime) -> list[SessionOfUser]:
    """A user's live sessions, locked in the order of their ids."""
    rows = (await connection.execute(_LOCK_LIVE, {"username": username, "now": now})).mappings()
    return [_session(row) for row in rows]


async def lock_unsynced(connection: AsyncConnection, *, items_max: int) -> Sequence[SessionOfUser]:
    """Sessions whose latest the bucket lacks, locked; those another process works on are left out."""
    return [_session(row) for row in (await connection.execute(_LOCK_UNSYNCED, {"items_max": items_max})).mappings()]


async def lock_page(connection: AsyncConnection, *, after: str, items_max: int) -> Sequence[SessionOfUser]:
    """Unexpired sessions by id from ``after`` on, ended ones too, locked."""
    rows = (await connection.execute(_LOCK_PAGE, {"after": after, "items_max": items_max})).mappings()
    return [_session(row) for row in rows]


async def insert(connection: AsyncConnection, session: PersonSession, client: ClientFacts, family: str) -> None:
    """Store a new session with the client it was opened in, whose user agent is of ``family``."""
    await connection.execute(
        _INSERT,
        {
            "sid": session.sid,
            "username": session.username,
            "epoch": session.epoch,
            "generation": session.generation,
            "current_sha256": session.current_sha256,
            "salt": session.salt,
            "rotated_at": session.rotated_at,
            "opened_at": session.opened_at,
            "expires_at": session.expires_at,
            "address": client.address,
            "user_agent": client.user_agent,
            "user_agent_family": family,
            "header_names": list(client.header_names),
        },
    )


async def rotate(connection: AsyncConnection, after: PersonSession, *, before: int) -> bool:
    """Store a rotation; false where the session is no longer at generation ``before`` or has ended."""
    result = await connection.execute(
        _ROTATE,
        {
            "sid": after.sid,
            "epoch": after.epoch,
            "generation": after.generation,
            "current_sha256": after.current_sha256,
            "previous_sha256": after.previous_sha256,
            "salt": after.salt,
            "rotated_at": after.rotated_at,
            "before": before,
        },
    )
    return result.rowcount == 1


async def end(
    connection: AsyncConnection, sids: Sequence[str], *, at: datetime, reason: str, by: str | None = None
) -> int:
    """End sessions; returns how many lived until now. ``by`` is who did it to them, None where they did it."""
    if not sids:
        return 0
    return (await connection.execute(_END, {"sids": list(sids), "at": at, "reason": reason, "by": by})).rowcount


async def unsync(connection: AsyncConnection, sid: str) -> None:
    """Note that the bucket lacks the latest of a session."""
    await connection.execute(_UNSYNC, {"sid": sid})


async def mark_synced(connection: AsyncConnection, sids: Sequence[str]) -> None:
    """Note that the bucket holds the latest of these sessions."""
    await connection.execute(_MARK_SYNCED, {"sids": list(sids)})


async def page(
    connection: AsyncConnection,
    *,
    username: str | None,
    state: SessionState | None,
    risk_min: float,
    before: tuple[datetime, str] | None,
    items_max: int,
    now: datetime,
) -> Sequence[SessionOfUser]:
    """Sessions of people, newest last-seen first, those after ``before`` in that order."""
    parameters = {
        "username": username,
        "state": None if state is None else state.value,
        "risk_min": risk_min,
        "before_seen": None if before is None else before[0],
        "before_id": None if before is None else before[1],
        "items_max": items_max,
        "now": now,
    }
    return [_session(row) for row in (await connection.execute(_LIST, parameters)).mappings()]


async def count_live(connection: AsyncConnection, now: datetime) -> dict[str, int]:
    """Live sessions by username; users without one are left out."""
    return {row["username"]: row["live"] for row in (await connection.execute(_COUNT_LIVE, {"now": now})).mappings()}


def _session(row: RowMapping) -> SessionOfUser:
    session = PersonSession(
        sid=row["sid"],
        username=row["username"],
        epoch=row["epoch"],
        generation=row["generation"],
        current_sha256=row["current_sha256"],
        previous_sha256=row["previous_sha256"],
        salt=row["salt"],
        rotated_at=row["rotated_at"],
        opened_at=row["opened_at"],
        expires_at=row["expires_at"],
        ended_at=row["ended_at"],
        last_seen_at=row["last_seen_at"],
        risk=row["risk"],
        confirm_since=row["confirm_since"],
        ended_by=row["ended_by"],
        end_reason=row["end_reason"],
    )
    return SessionOfUser(session, Role(row["role"]), row["must_change_password"])
