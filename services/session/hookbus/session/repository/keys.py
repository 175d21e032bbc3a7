"""SQL of ``session.api_keys``, the truth about API keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.contracts.session import KeyScope
from hookbus.session.domain.keys import StoredKey

_COLUMNS: Final = "key_id, name, secret_sha256, scopes, created_at, expires_at, revoked_at"

_INSERT: Final = text("""
    INSERT INTO session.api_keys (key_id, name, secret_sha256, scopes, created_at, created_by, expires_at)
    VALUES (:key_id, :name, :secret_sha256, CAST(:scopes AS text[]), :created_at, :created_by, :expires_at)
""")
_FIND: Final = text(f"SELECT {_COLUMNS} FROM session.api_keys WHERE key_id = :key_id")  # noqa: S608 - constant columns
_REVOKE: Final = text("""
    UPDATE session.api_keys SET revoked_at = :revoked_at, revoked_by = :revoked_by, bucket_synced = false
    WHERE key_id = :key_id AND revoked_at IS NULL
""")
_LIST: Final = text(f"""
    SELECT {_COLUMNS} FROM session.api_keys
    WHERE CAST(:before_created AS timestamptz) IS NULL
       OR (created_at, key_id) < (CAST(:before_created AS timestamptz), CAST(:before_id AS text))
    ORDER BY created_at DESC, key_id DESC LIMIT :items_max
""")  # noqa: S608 - constant columns
_LOCK_ONE: Final = text(f"SELECT {_COLUMNS} FROM session.api_keys WHERE key_id = :key_id FOR UPDATE")  # noqa: S608 - constant columns
_LOCK_UNSYNCED: Final = text(f"""
    SELECT {_COLUMNS} FROM session.api_keys WHERE NOT bucket_synced ORDER BY key_id LIMIT :items_max
    FOR UPDATE SKIP LOCKED
""")  # noqa: S608 - constant columns
_LOCK_PAGE: Final = text(f"""
    SELECT {_COLUMNS} FROM session.api_keys
    WHERE key_id > :after AND (expires_at IS NULL OR expires_at > now()) ORDER BY key_id LIMIT :items_max FOR UPDATE
""")  # noqa: S608 - constant columns
_MARK_SYNCED: Final = text(
    "UPDATE session.api_keys SET bucket_synced = true WHERE key_id = ANY(CAST(:ids AS text[])) AND NOT bucket_synced"
)


async def insert(connection: AsyncConnection, key: StoredKey, *, created_by: str) -> None:
    """Store a new key."""
    await connection.execute(
        _INSERT,
        {
            "key_id": key.key_id,
            "name": key.name,
            "secret_sha256": key.secret_sha256,
            "scopes": sorted(scope.value for scope in key.scopes),
            "created_at": key.created_at,
            "created_by": created_by,
            "expires_at": key.expires_at,
        },
    )


async def find(connection: AsyncConnection, key_id: str) -> StoredKey | None:
    """The key, revoked or not."""
    row = (await connection.execute(_FIND, {"key_id": key_id})).mappings().one_or_none()
    return None if row is None else _key(row)


async def revoke(connection: AsyncConnection, key_id: str, *, at: datetime, by: str) -> bool:
    """Revoke the key; false where it is unknown or revoked already."""
    result = await connection.execute(_REVOKE, {"key_id": key_id, "revoked_at": at, "revoked_by": by})
    return result.rowcount == 1


async def page(
    connection: AsyncConnection, *, before: tuple[datetime, str] | None, items_max: int
) -> Sequence[StoredKey]:
    """Keys, newest first, those after ``before`` in that order."""
    parameters = {
        "before_created": None if before is None else before[0],
        "before_id": None if before is None else before[1],
        "items_max": items_max,
    }
    return [_key(row) for row in (await connection.execute(_LIST, parameters)).mappings()]


async def lock(connection: AsyncConnection, key_id: str) -> StoredKey | None:
    """The key, its row locked until the transaction ends."""
    row = (await connection.execute(_LOCK_ONE, {"key_id": key_id})).mappings().one_or_none()
    return None if row is None else _key(row)


async def lock_unsynced(connection: AsyncConnection, *, items_max: int) -> Sequence[StoredKey]:
    """Keys the bucket does not know the latest of, locked; those another process works on are left out."""
    return [_key(row) for row in (await connection.execute(_LOCK_UNSYNCED, {"items_max": items_max})).mappings()]


async def lock_page(connection: AsyncConnection, *, after: str, items_max: int) -> Sequence[StoredKey]:
    """Unexpired keys by id from ``after`` on, locked."""
    parameters = {"after": after, "items_max": items_max}
    return [_key(row) for row in (await connection.execute(_LOCK_PAGE, parameters)).mappings()]


async def mark_synced(connection: AsyncConnection, key_ids: Sequence[str]) -> None:
    """Note that the bucket holds the latest of these keys."""
    await connection.execute(_MARK_SYNCED, {"ids": list(key_ids)})


def _key(row: RowMapping) -> StoredKey:
    return StoredKey(
        key_id=row["key_id"],
        name=row["name"],
        secret_sha256=row["secret_sha256"],
        scopes=frozenset(KeyScope(scope) for scope in row["scopes"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
    )
