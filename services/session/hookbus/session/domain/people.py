"""A user, a person's session, and what a login attempt meets."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from hookbus.contracts.payloads import Fingerprint
from hookbus.contracts.people import PersonSessionRecord, Role, UserView
from hookbus.contracts.session import SessionKind, SessionState, SessionView
from hookbus.session.domain.risk import Signal, explained

SESSIONS_PER_USER_MAX: Final = 3
SESSION_AGE_MAX_S: Final = 30 * 86_400
SESSION_ID_BYTES: Final = 16
LOCK_FAILURES_MAX: Final = 5
"""Failed logins in a row before a name is locked."""
LOCK_FIRST_S: Final = 30.0
LOCK_MAX_S: Final = 900.0
"""The lock doubles with each further failure up to this: guessing at a name never keeps its owner out for long."""
FAILURES_FORGOTTEN_S: Final = 86_400.0

_USERNAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_SESSION_ID: Final = re.compile(r"person-[0-9a-f]{32}", re.ASCII)
NOBODY: Final = ""
"""A name no user can have: what a login under an impossible name looks up, so that it costs the same."""


@dataclass(frozen=True, slots=True)
class User:
    """A user as the database keeps it."""

    username: str
    role: Role
    password_hash: str
    must_change_password: bool
    epoch: int
    created_at: datetime
    password_changed_at: datetime | None = None
    disabled_at: datetime | None = None
    totp_secret: bytes | None = None
    totp_pending: bytes | None = None
    totp_step: int = 0
    """The time step of the last code that was used: no code counts twice."""

    def view(self, sessions: int) -> UserView:
        """The user without secrets; ``sessions`` of theirs live."""
        return UserView(
            username=self.username,
            role=self.role,
            created_at=self.created_at,
            password_changed_at=self.password_changed_at,
            must_change_password=self.must_change_password,
            totp=self.totp_secret is not None,
            disabled_at=self.disabled_at,
            sessions=sessions,
        )


@dataclass(frozen=True, slots=True)
class PersonSession:
    """One login of one user and the state of its refresh token."""

    sid: str
    username: str
    epoch: int
    generation: int
    current_sha256: str
    previous_sha256: str | None
    salt: bytes
    """Random, drawn at each rotation: what the successor was derived with."""
    rotated_at: datetime
    opened_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    last_seen_at: datetime | None = None
    risk: float = 0.0
    confirm_since: datetime | None = None
    ended_by: str | None = None
    """Who ended it, where its person did not."""
    end_reason: str | None = None

    def lives(self, now: datetime) -> bool:
        """Whether it has neither ended nor expired."""
        return self.ended_at is None and self.expires_at > now

    def view(self, now: datetime, signals: Iterable[Signal] = ()) -> SessionView:
        """The session in the form of an agent's: ``user:<name>`` stands for the agent. One that was ended for its
        person, by somebody else or for its risk, is killed."""
        ended_at = self.ended_at or (self.expires_at if self.expires_at <= now else None)
        killed = self.ended_at is not None and self.ended_by is not None
        state = SessionState.KILLED if killed else SessionState.ENDED if ended_at is not None else SessionState.ACTIVE
        return SessionView(
            id=self.sid,
            kind=SessionKind.PERSON,
            agent_id=f"user:{self.username}",
            state=state,
            risk=round(self.risk, 4),
            baseline=Fingerprint(),
            opened_at=self.opened_at,
            last_seen_at=self.last_seen_at or self.rotated_at,
            events=self.generation,
            ended_at=ended_at,
            killed_at=self.ended_at if killed else None,
            killed_by=self.ended_by if killed else None,
            kill_reason=self.end_reason if killed else None,
            confirm_required=self.confirm_since is not None,
            signals=explained(signals),
        )


@dataclass(frozen=True, slots=True)
class SessionOfUser:
    """A session with what it takes from its user, read under one lock."""

    session: PersonSession
    role: Role
    must_change_password: bool

    def record(self) -> PersonSessionRecord:
        """What a gateway needs to check an access token."""
        return PersonSessionRecord(
            sid=self.session.sid,
            username=self.session.username,
            role=self.role,
            epoch=self.session.epoch,
            must_change_password=self.must_change_password,
            ended=self.session.ended_at is not None,
            expires_at=self.session.expires_at,
            confirm_required=self.session.confirm_since is not None,
        )


@dataclass(frozen=True, slots=True)
class Attempts:
    """Failed logins under one name, whether or not a user has it."""

    failures: int = 0
    failed_at: datetime | None = None
    locked_until: datetime | None = None

    def locked_s(self, now: datetime) -> float:
        """Seconds the name stays locked; 0 where it is not."""
        return 0.0 if self.locked_until is None else max(0.0, (self.locked_until - now).total_seconds())

    def failed(self, now: datetime) -> "Attempts":
        """The count after one more failure. Old failures are forgotten."""
        stale = self.failed_at is None or (now - self.failed_at).total_seconds() > FAILURES_FORGOTTEN_S
        failures = 1 if stale else self.failures + 1
        beyond = failures - LOCK_FAILURES_MAX
        locked_until = None
        if beyond >= 0:
            # The exponent is bounded before the power: the count is not.
            locked_until = now + timedelta(seconds=min(LOCK_MAX_S, LOCK_FIRST_S * 2 ** min(beyond, 16)))
        return Attempts(failures, now, locked_until)


def known_name(typed: str) -> str:
    """The username that ``typed`` can mean, :data:`NOBODY` where no user can have it."""
    lowered = typed.strip().lower()
    return lowered if _USERNAME.fullmatch(lowered) else NOBODY


def name_digest(typed: str) -> str:
    """What failed logins under a name are counted by. Not the name itself: people type passwords there."""
    return hashlib.sha256(typed.strip().lower().encode("utf-8", "replace")).hexdigest()


def session_id(random: bytes) -> str:
    """The id of a new session."""
    return f"person-{random.hex()}"


def is_session_id(text: str) -> bool:
    """Whether ``text`` has the form of a person's session id. An agent may choose that form too."""
    return _SESSION_ID.fullmatch(text) is not None


def surplus(live: list[PersonSession]) -> list[PersonSession]:
    """The oldest sessions that must end so that one more fits."""
    over = len(live) + 1 - SESSIONS_PER_USER_MAX
    return sorted(live, key=lambda one: (one.opened_at, one.sid))[:over] if over > 0 else []
