"""What the database knows of data keys: which there are, how often each was used. The keys are in the key store."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from hookbus.audit.keys import DataKey, KekParameters
from hookbus.audit.keystore import StoredKek, WrappedKey
from hookbus.audit.repository.leading import Connection

ERASURE_LOCK_KEY = 0x65726173
"""Advisory lock ("eras"): held alone from a tombstone's commit until the keys are gone, shared while a check takes its
snapshot and reads the keys that belong to it."""
KIND_ERASED = "audit.erased"


async def entries_under(connection: Connection, key_ids: Collection[bytes]) -> dict[bytes, int]:
    """Key id -> entries under it, for the keys the database knows."""
    rows = await connection.fetch("SELECT key_id, entries FROM audit.data_keys WHERE key_id = ANY($1)", list(key_ids))
    return {row["key_id"]: row["entries"] for row in rows}


async def has_keys(connection: Connection) -> bool:
    """Whether the log ever made a data key that is not erased."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM audit.data_keys)"))


async def insert_data_keys(connection: Connection, keys: Sequence[tuple[DataKey, bytes]]) -> None:
    """Make new data keys known, each with its blinded subject."""
    if keys:
        await connection.executemany(
            "INSERT INTO audit.data_keys (key_id, subject, period, commitment) VALUES ($1, $2, $3, $4)",
            [(key.key_id, subject, key.period, key.commitment) for key, subject in keys],
        )


async def forget_data_keys(connection: Connection, key_ids: Sequence[bytes]) -> None:
    """Take data keys off the list: nothing is written under them any more."""
    await connection.execute("DELETE FROM audit.data_keys WHERE key_id = ANY($1)", list(key_ids))


async def forget_before(connection: Connection, period: str) -> None:
    """The same for the periods before ``period``."""
    await connection.execute("DELETE FROM audit.data_keys WHERE period < $1", period)


async def count_uses(connection: Connection, uses: Mapping[bytes, int]) -> int:
    """Add to how often data keys were used; how many of them are still on the list."""
    answer = await connection.execute(
        "UPDATE audit.data_keys SET entries = entries + used.count"
        " FROM unnest($1::bytea[], $2::bigint[]) AS used (key_id, count) WHERE data_keys.key_id = used.key_id",
        list(uses),
        list(uses.values()),
    )
    return int(answer.rpartition(" ")[2])


async def forget_terms(connection: Connection, agent: bytes, rows_max: int) -> int:
    """Empty the search terms of an agent's entries whose data key is erased, so many at a time; how many were emptied.

    What it writes meanwhile, under a new key, goes on being found; and nobody can hide the log's own entries by taking
    the name they are found by.
    """
    answer = await connection.execute(
        "UPDATE audit.entry_lookup SET agent = NULL, session = NULL, project = NULL WHERE index IN"
        " (SELECT l.index FROM audit.entry_lookup l JOIN audit.stored_events e ON e.index = l.index WHERE l.agent = $1"
        " AND NOT EXISTS (SELECT FROM audit.data_keys k WHERE k.key_id = e.key_id) LIMIT $2)",
        agent,
        rows_max,
    )
    return int(answer.rpartition(" ")[2])


async def tombstones(connection: Connection) -> list[int]:
    """Where the log says that it erased something."""
    rows = await connection.fetch("SELECT index FROM audit.entry_lookup WHERE kind = $1 ORDER BY index", KIND_ERASED)
    return [row["index"] for row in rows]


async def lock_erasures(connection: Connection, *, alone: bool) -> None:
    """Keep erasures out (or, ``alone``, everybody); on the connection until :func:`unlock_erasures`."""
    await connection.execute(
        "SELECT pg_advisory_lock($1)" if alone else "SELECT pg_advisory_lock_shared($1)", ERASURE_LOCK_KEY
    )


async def unlock_erasures(connection: Connection, *, alone: bool) -> None:
    """Let them in again."""
    await connection.execute(
        "SELECT pg_advisory_unlock($1)" if alone else "SELECT pg_advisory_unlock_shared($1)", ERASURE_LOCK_KEY
    )


@dataclass(frozen=True, slots=True)
class LegacyKeys:
    """The keys an earlier version kept in the database."""

    kek: StoredKek
    keys: Sequence[WrappedKey]


async def read_legacy(connection: Connection) -> LegacyKeys | None:
    """The keys that still lie in the database; None where none does."""
    row = await connection.fetchrow(
        "SELECT kek_id, iterations, salt, check_value, search_key_wrapped"
        " FROM audit.key_encryption_keys ORDER BY kek_id DESC LIMIT 1"
    )
    if row is None:
        return None
    parameters = KekParameters(row["salt"], row["iterations"], row["check_value"])
    rows = await connection.fetch(
        "SELECT key_id, kek_id, subject, period, wrapped, commitment FROM audit.data_keys WHERE wrapped IS NOT NULL"
        " ORDER BY created_at, key_id"
    )
    return LegacyKeys(
        StoredKek(row["kek_id"], parameters, row["search_key_wrapped"]), [WrappedKey(**each) for each in rows]
    )


async def clear_legacy(connection: Connection) -> None:
    """Remove the keys from the database, once the key store has them."""
    async with connection.transaction():
        await connection.execute("UPDATE audit.data_keys SET wrapped = NULL WHERE wrapped IS NOT NULL")
        await connection.execute("DELETE FROM audit.key_encryption_keys")
