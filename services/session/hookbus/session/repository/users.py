"""SQL of ``session.users`` and ``session.login_attempts``."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.people import Role
from hookbus.session.domain.people import Attempts, User

_COLUMNS: Final = (
    "username, role, password_hash, must_change_password, epoch, created_at, password_changed_at, disabled_at,"
    " totp_secret, totp_pending, totp_step"
)
_ADMINS_LOCK_KEY: Final = 0x61646D69

_FIND: Final = text(f"SELECT {_COLUMNS} FROM session.users WHERE username = :username")  # noqa: S608 - constant columns
_LOCK: Final = text(f"SELECT {_COLUMNS} FROM session.users WHERE username = :username FOR UPDATE")  # noqa: S608 - constant columns
_LIST: Final = text(f"SELECT {_COLUMNS} FROM session.users ORDER BY username LIMIT :items_max")  # noqa: S608 - constant columns
_INSERT: Final = text("""
    INSERT INTO session.users (username, role, password_hash, must_change_password, created_at, created_by)
    VALUES (:username, :role, :password_hash, true, :created_at, :created_by)
    ON CONFLICT (username) DO NOTHING
""")
_SAVE: Final = text("""
    UPDATE session.users SET role = :role, password_hash = :password_hash,
        must_change_password = :must_change_password, epoch = :epoch, password_changed_at = :password_changed_at,
        disabled_at = :disabled_at, totp_secret = :totp_secret, totp_pending = :totp_pending
    WHERE username = :username
""")
_USE_STEP: Final = text("""
    UPDATE session.users SET totp_step = :step WHERE username = :username AND totp_step < :step
""")
_SERIALIZE_ADMINS: Final = text("SELECT pg_advisory_xact_lock(:key)")
_ADMINS: Final = text("SELECT count(*) FROM session.users WHERE role = 'admin' AND disabled_at IS NULL")
_ANY_OWN_PASSWORD: Final = text("SELECT EXISTS (SELECT FROM session.users WHERE password_changed_at IS NOT NULL)")

_ATTEMPTS: Final = text("""
    SELECT failures, failed_at, locked_until FROM session.login_attempts WHERE name_sha256 = :name_sha256
""")
# One statement: a row that was found and locked by two might be forgotten in between. The update locks it.
_LOCK_ATTEMPTS: Final = text("""
    INSERT INTO session.login_attempts (name_sha256, failures, failed_at) VALUES (:name_sha256, 0, :at)
    ON CONFLICT (name_sha256) DO UPDATE SET failures = login_attempts.failures
    RETURNING failures, failed_at, locked_until
""")
_SAVE_ATTEMPTS: Final = text("""
    UPDATE session.login_attempts SET failures = :failures, failed_at = :failed_at, locked_until = :locked_until
    WHERE name_sha256 = :name_sha256
""")
_FORGET_ATTEMPTS: Final = text("DELETE FROM session.login_attempts WHERE name_sha256 = :name_sha256")
_FORGET_OLD: Final = text("""
    DELETE FROM session.login_attempts WHERE name_sha256 IN (
        SELECT name_sha256 FROM session.login_attempts WHERE failed_at < :before LIMIT :items_max
    )
""")


async def find(connection: AsyncConnection, username: str) -> User | None:
    """The user, disabled or not."""
    row = (await connection.execute(_FIND, {"username": username})).mappings().one_or_none()
    return None if row is None else _user(row)


async def lock(connection: AsyncConnection, username: str) -> User | None:
    """The user, the row locked until the transaction ends."""
    row = (await connection.execute(_LOCK, {"username": username})).mappings().one_or_none()
    return None if row is None else _user(row)


async def page(connection: AsyncConnection, *, items_max: int) -> Sequence[User]:
    """Users by name."""
    return [_user(row) for row in (await connection.execute(_LIST, {"items_max": items_max})).mappings()]


async def insert(connection: AsyncConnection, user: User, *, created_by: str) -> bool:
    """Store a new user, who must change the password; false where the name is taken."""
    result = await connection.execute(
        _INSERT,
        {
            "username": user.username,
            "role": user.role.value,
            "password_hash": user.password_hash,
            "created_at": user.created_at,
            "created_by": created_by,
        },
    )
    return result.rowcount == 1


async def save(connection: AsyncConnection, user: User) -> None:
    """Store what may change of a locked user."""
    await connection.execute(
        _SAVE,
        {
            "username": user.username,
            "role": user.role.value,
            "password_hash": user.password_hash,
            "must_change_password": user.must_change_password,
            "epoch": user.epoch,
            "password_changed_at": user.password_changed_at,
            "disabled_at": user.disabled_at,
            "totp_secret": user.totp_secret,
            "totp_pending": user.totp_pending,
        },
    )


async def use_step(connection: AsyncConnection, username: str, step: int) -> bool:
    """Note that the code of a time step was used; false where it, or a later one, was used before."""
    result = await connection.execute(_USE_STEP, {"username": username, "step": step})
    return result.rowcount == 1


async def count_admins(connection: AsyncConnection) -> int:
    """Administrators who are let in; those who change that wait for each other until the transaction ends."""
    await connection.execute(_SERIALIZE_ADMINS, {"key": _ADMINS_LOCK_KEY})
    return int((await connection.execute(_ADMINS)).scalar_one())


async def anybody_has_own_password(connection: AsyncConnection) -> bool:
    """Whether any user ever changed the one-time password."""
    return bool((await connection.execute(_ANY_OWN_PASSWORD)).scalar_one())


async def attempts(connection: AsyncConnection, name_sha256: str) -> Attempts:
    """Failed logins under a name."""
    row = (await connection.execute(_ATTEMPTS, {"name_sha256": name_sha256})).mappings().one_or_none()
    return Attempts() if row is None else _attempts(row)


async def lock_attempts(connection: AsyncConnection, name_sha256: str, *, at: datetime) -> Attempts:
    """As :func:`attempts`, with the row made where it is absent and locked."""
    row = (await connection.execute(_LOCK_ATTEMPTS, {"name_sha256": name_sha256, "at": at})).mappings().one()
    return _attempts(row)


async def save_attempts(connection: AsyncConnection, name_sha256: str, after: Attempts) -> None:
    """Store the count of a locked name."""
    await connection.execute(
        _SAVE_ATTEMPTS,
        {
            "name_sha256": name_sha256,
            "failures": after.failures,
            "failed_at": after.failed_at,
            "locked_until": after.locked_until,
        },
    )


async def forget_attempts(connection: AsyncConnection, name_sha256: str) -> None:
    """Nobody failed under this name."""
    await connection.execute(_FORGET_ATTEMPTS, {"name_sha256": name_sha256})


async def forget_old_attempts(connection: AsyncConnection, *, before: datetime, items_max: int) -> int:
    """Forget counts that no longer count; returns how many."""
    return (await connection.execute(_FORGET_OLD, {"before": before, "items_max": items_max})).rowcount


def _attempts(row: RowMapping) -> Attempts:
    return Attempts(row["failures"], row["failed_at"], row["locked_until"])


def _user(row: RowMapping) -> User:
    return User(
        username=row["username"],
        role=Role(row["role"]),
        password_hash=row["password_hash"],
        must_change_password=row["must_change_password"],
        epoch=row["epoch"],
        created_at=row["created_at"],
        password_changed_at=row["password_changed_at"],
        disabled_at=row["disabled_at"],
        totp_secret=row["totp_secret"],
        totp_pending=row["totp_pending"],
        totp_step=row["totp_step"],
    )
