"""The security events this service publishes about its own acts."""

import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.events import Event, type_of_security
from hookbus.contracts.subjects import security_subject
from hookbus.platform import telemetry
from hookbus.session.domain.keys import StoredKey
from hookbus.session.domain.risk import Level, Signal, explained, standing
from hookbus.session.domain.sessions import Session
from hookbus.session.repository import outbox

SESSION_KILLED: Final = "session_killed"
SESSION_REVIVED: Final = "session_revived"
SESSION_FLAGGED: Final = "session_flagged"
KEY_CREATED: Final = "key_created"
KEY_REVOKED: Final = "key_revoked"
RISK_ASSESSED: Final = "risk_assessed"
LOGIN_SUCCEEDED: Final = "login_succeeded"
LOGIN_FAILED: Final = "login_failed"
LOGIN_LOCKED: Final = "login_locked"
TOKEN_REUSED: Final = "token_reused"  # noqa: S105 - a code
PERSON_SESSION_ENDED: Final = "person_session_ended"
PERSON_CONFIRMED: Final = "person_confirmed"
PASSWORD_CHANGED: Final = "password_changed"  # noqa: S105 - a code
USER_CREATED: Final = "user_created"
USER_RESET: Final = "user_reset"
USER_DISABLED: Final = "user_disabled"
TOTP_ENABLED: Final = "totp_enabled"
TOTP_REMOVED: Final = "totp_removed"
BREACH_CHECK_FAILED: Final = "breach_check_failed"

SOURCE: Final = "hookbus/session"
SUBJECT_NO_AGENT: Final = "hookbus"
"""The subject of an event that is about hookbus itself and no agent."""


async def about_session(
    connection: AsyncConnection, code: str, session: Session, *, actor: str, reason: str, at: datetime
) -> None:
    """Queue an event about a session in the transaction that changes it."""
    data: dict[str, JsonValue] = {
        "session": session.id,
        "actor": actor,
        "reason": reason,
        "risk": round(session.risk, 4),
        "signals": [signal.words for signal in standing(session.signals)],
    }
    await _add(connection, code, session.agent_id, data, at, session=session.id, project=session.project)


async def about_risk(connection: AsyncConnection, session: Session, level: Level, *, at: datetime) -> None:
    """Queue what an agent's session was assessed at in the transaction that stores it."""
    data: dict[str, JsonValue] = {"session": session.id, **risk_data(session.risk, level, session.signals)}
    await _add(connection, RISK_ASSESSED, session.agent_id, data, at, session=session.id, project=session.project)


def risk_data(risk: float, level: Level, signals: Iterable[Signal]) -> dict[str, JsonValue]:
    """An assessment as the log keeps it: the standing evidence with what each piece adds."""
    told: list[JsonValue] = [
        {"code": view.code, "weight": view.weight, "contribution": view.contribution, "words": view.words}
        for view in explained(signals)
        if view.cleared_at is None
    ]
    return {"risk": round(risk, 4), "level": level.value, "signals": told}


async def about_key(connection: AsyncConnection, code: str, key: StoredKey, *, actor: str, at: datetime) -> None:
    """Queue an event about an API key in the transaction that changes it. It holds neither the key nor its hash."""
    scopes: list[JsonValue] = [scope.value for scope in sorted(key.scopes)]
    data: dict[str, JsonValue] = {"key_id": key.key_id, "name": key.name, "scopes": scopes, "actor": actor}
    await _add(connection, code, SUBJECT_NO_AGENT, data, at)


async def about_person(
    connection: AsyncConnection, code: str, username: str | None, at: datetime, **details: JsonValue
) -> None:
    """Queue an event about a user in the transaction that changes them. Callers put no secret into ``details``.

    ``username`` is None where nobody has the name that was typed: people type passwords there.
    """
    data: dict[str, JsonValue] = {} if username is None else {"username": username}
    await _add(connection, code, SUBJECT_NO_AGENT, data | details, at)


async def _add(
    connection: AsyncConnection,
    code: str,
    agent_id: str,
    data: Mapping[str, JsonValue],
    at: datetime,
    *,
    session: str | None = None,
    project: str | None = None,
) -> None:
    event = Event(
        id=str(uuid.uuid4()),
        source=SOURCE,
        type=type_of_security(code),
        subject=agent_id,
        time=at,
        traceparent=telemetry.current_traceparent(),
        session=session,
        project=project,
        data=dict(data),
    )
    await outbox.add(connection, event, security_subject(code))
