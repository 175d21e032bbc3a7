"""SQL of ``session.signing_keys``: the keys of access tokens, their private halves encrypted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_SERIALIZE_KEY: Final = 0x6A776B73

_SERIALIZE: Final = text("SELECT pg_advisory_xact_lock(:key)")
_LIST: Final = text("SELECT kid, public_x, private_pem, created_at FROM session.signing_keys ORDER BY created_at, kid")
_INSERT: Final = text("""
    INSERT INTO session.signing_keys (kid, public_x, private_pem, created_at)
    VALUES (:kid, :public_x, :private_pem, :created_at)
""")
_DELETE: Final = text("DELETE FROM session.signing_keys WHERE kid = ANY(CAST(:kids AS text[]))")


@dataclass(frozen=True, slots=True)
class StoredSigningKey:
    """One key; ``private_pem`` is encrypted under the service's passphrase."""

    kid: str
    public_x: str
    private_pem: str
    created_at: datetime


async def lock_all(connection: AsyncConnection) -> Sequence[StoredSigningKey]:
    """Every key, the oldest first; other processes wait until the transaction ends."""
    await connection.execute(_SERIALIZE, {"key": _SERIALIZE_KEY})
    rows = (await connection.execute(_LIST)).mappings()
    return [StoredSigningKey(row["kid"], row["public_x"], row["private_pem"], row["created_at"]) for row in rows]


async def insert(connection: AsyncConnection, key: StoredSigningKey) -> None:
    """Store a key."""
    await connection.execute(
        _INSERT,
        {
            "kid": key.kid,
            "public_x": key.public_x,
            "private_pem": key.private_pem,
            "created_at": key.created_at,
        },
    )


async def delete(connection: AsyncConnection, kids: Sequence[str]) -> None:
    """Forget keys whose tokens are over."""
    await connection.execute(_DELETE, {"kids": list(kids)})
