"""Attempts to prove who one is that failed: counted under the name, told of, and after some the name is locked."""

from datetime import datetime

from pydantic import JsonValue
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.session import security_events
from hookbus.session.domain.people import Attempts
from hookbus.session.repository import users


def refuse_locked(attempts: Attempts, now: datetime) -> None:
    """Let nobody try while a name is locked.

    Raises:
        ProblemError: ``rate_limited``.
    """
    locked_s = attempts.locked_s(now)
    if locked_s > 0:
        raise ProblemError(ProblemCode.RATE_LIMITED, "too many failed logins under this name", retry_after_s=locked_s)


async def add(
    connection: AsyncConnection, digest: str, username: str | None, now: datetime, **details: JsonValue
) -> None:
    """Count one and queue its event, in a transaction that the caller lets commit.

    Args:
        connection: of that transaction.
        digest: of the name that was given.
        username: whose name it is; None where nobody has it.
        now: the time.
        details: what else is told.
    """
    after = (await users.lock_attempts(connection, digest, at=now)).failed(now)
    await users.save_attempts(connection, digest, after)
    kind = security_events.LOGIN_LOCKED if after.locked_until else security_events.LOGIN_FAILED
    await security_events.about_person(connection, kind, username, now, failures=after.failures, **details)
