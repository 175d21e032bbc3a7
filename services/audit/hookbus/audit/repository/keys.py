"""Keys at rest: derivation parameters, wrapped data keys and how often each was used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hookbus.audit.keys import KDF_NAME, KekParameters
from hookbus.audit.repository.leading import Connection


@dataclass(frozen=True, slots=True)
class StoredKek:
    """The newest key-encryption key's parameters, and the search key it wraps."""

    kek_id: int
    parameters: KekParameters
    search_key_wrapped: bytes


@dataclass(frozen=True, slots=True)
class StoredDataKey:
    """A wrapped data key. ``subject`` is blinded."""

    key_id: bytes
    kek_id: int
    subject: bytes
    period: str
    wrapped: bytes
    commitment: bytes
    entries: int


async def read_kek(connection: Connection) -> StoredKek | None:
    """The newest parameters; None before the log has any."""
    row = await connection.fetchrow(
        "SELECT kek_id, iterations, salt, check_value, search_key_wrapped"
        " FROM audit.key_encryption_keys ORDER BY kek_id DESC LIMIT 1"
    )
    if row is None:
        return None
    parameters = KekParameters(row["salt"], row["iterations"], row["check_value"])
    return StoredKek(row["kek_id"], parameters, row["search_key_wrapped"])


async def insert_kek(connection: Connection, kek: StoredKek) -> None:
    """Add parameters; of two processes that make the same generation at once the second changes nothing."""
    await connection.execute(
        "INSERT INTO audit.key_encryption_keys (kek_id, kdf, iterations, salt, check_value, search_key_wrapped)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        kek.kek_id,
        KDF_NAME,
        kek.parameters.iterations,
        kek.parameters.salt,
        kek.parameters.check,
        kek.search_key_wrapped,
    )


async def read_data_keys(connection: Connection, key_ids: Sequence[bytes]) -> list[StoredDataKey]:
    """The data keys of these ids that still exist."""
    rows = await connection.fetch(
        "SELECT key_id, kek_id, subject, period, wrapped, commitment, entries FROM audit.data_keys"
        " WHERE key_id = ANY($1)",
        list(key_ids),
    )
    return [StoredDataKey(**row) for row in rows]


async def read_period_keys(connection: Connection, subjects: Sequence[bytes], period: str) -> list[StoredDataKey]:
    """The newest data key of each blinded subject in one period."""
    rows = await connection.fetch(
        "SELECT DISTINCT ON (subject) key_id, kek_id, subject, period, wrapped, commitment, entries"
        " FROM audit.data_keys WHERE subject = ANY($1) AND period = $2 ORDER BY subject, created_at DESC, key_id",
        list(subjects),
        period,
    )
    return [StoredDataKey(**row) for row in rows]


async def insert_data_keys(connection: Connection, keys: Sequence[StoredDataKey]) -> None:
    """Add wrapped data keys."""
    if keys:
        await connection.executemany(
            "INSERT INTO audit.data_keys (key_id, kek_id, subject, period, wrapped, commitment, entries)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            [
                (key.key_id, key.kek_id, key.subject, key.period, key.wrapped, key.commitment, key.entries)
                for key in keys
            ],
        )


async def read_all_data_keys(connection: Connection) -> list[StoredDataKey]:
    """Every data key."""
    rows = await connection.fetch(
        "SELECT key_id, kek_id, subject, period, wrapped, commitment, entries FROM audit.data_keys"
    )
    return [StoredDataKey(**row) for row in rows]


async def keys_from(connection: Connection, period: str) -> dict[bytes, str]:
    """Id -> period of the data keys of a period and those after it."""
    rows = await connection.fetch("SELECT key_id, period FROM audit.data_keys WHERE period >= $1", period)
    return {row["key_id"]: row["period"] for row in rows}


async def destroy_before(connection: Connection, period: str) -> int:
    """Delete the data keys of the periods before ``period``; how many there were."""
    answer = await connection.execute("DELETE FROM audit.data_keys WHERE period < $1", period)
    return int(answer.rpartition(" ")[2])


async def rewrap_data_keys(connection: Connection, kek_id: int, wrapped: Mapping[bytes, bytes]) -> None:
    """Replace the wrapping of data keys, by id."""
    await connection.execute(
        "UPDATE audit.data_keys SET kek_id = $1, wrapped = fresh.wrapped"
        " FROM unnest($2::bytea[], $3::bytea[]) AS fresh (key_id, wrapped) WHERE data_keys.key_id = fresh.key_id",
        kek_id,
        list(wrapped),
        list(wrapped.values()),
    )


async def subject_keys(connection: Connection, subject: bytes) -> list[tuple[bytes, int]]:
    """The data keys of a blinded subject: id and entries under it."""
    rows = await connection.fetch(
        "SELECT key_id, entries FROM audit.data_keys WHERE subject = $1 ORDER BY created_at, key_id", subject
    )
    return [(row["key_id"], row["entries"]) for row in rows]


async def destroy_data_keys(connection: Connection, key_ids: Sequence[bytes]) -> None:
    """Delete data keys: what they encrypt is unreadable from then on."""
    await connection.execute("DELETE FROM audit.data_keys WHERE key_id = ANY($1)", list(key_ids))


async def forget_terms(connection: Connection, agent: bytes, rows_max: int) -> int:
    """Empty the search terms of an agent's entries, so many at a time; how many were emptied."""
    answer = await connection.execute(
        "UPDATE audit.entry_lookup SET agent = NULL, session = NULL, project = NULL"
        " WHERE index IN (SELECT index FROM audit.entry_lookup WHERE agent = $1 LIMIT $2)",
        agent,
        rows_max,
    )
    return int(answer.rpartition(" ")[2])


async def count_uses(connection: Connection, uses: Mapping[bytes, int]) -> int:
    """Add to how often data keys were used; how many of them still exist."""
    answer = await connection.execute(
        "UPDATE audit.data_keys SET entries = entries + used.count"
        " FROM unnest($1::bytea[], $2::bigint[]) AS used (key_id, count) WHERE data_keys.key_id = used.key_id",
        list(uses),
        list(uses.values()),
    )
    return int(answer.rpartition(" ")[2])
