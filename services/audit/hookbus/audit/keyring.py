"""The keys at hand: the key-encryption key, and data keys unwrapped and cached."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hookbus.audit.keys import (
    ENTRIES_PER_KEY_MAX,
    KEY_BYTES,
    DataKey,
    KeyEncryptionKey,
    Randomness,
    blind,
    create_data_key,
    create_kek,
    unwrap_data_key,
)
from hookbus.audit.passphrases import Passphrases
from hookbus.audit.repository import keys as store
from hookbus.audit.repository.leading import Connection

CACHED_KEYS_MAX: Final = 10_000
"""Unwrapped data keys held in memory."""

FIRST_KEK_ID: Final = 1

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class _CachedKey:
    key: DataKey
    entries: int


@dataclass(frozen=True, slots=True)
class BatchKeys:
    """The data keys of one batch; ``created`` are not stored yet."""

    by_subject: Mapping[str, DataKey]
    created: Sequence[DataKey] = field(default_factory=tuple)


class Keyring:
    """Data keys by subject and period, and by id. Not for concurrent appends: the sequencer is alone."""

    def __init__(
        self,
        kek: KeyEncryptionKey,
        kek_id: int,
        search_key: bytes,
        randomness: Randomness,
        passphrases: Passphrases,
    ) -> None:
        self._passphrases = passphrases
        self._kek = kek
        self._kek_id = kek_id
        self._randomness = randomness
        self.search_key = search_key
        self._current: OrderedDict[tuple[str, str], _CachedKey] = OrderedDict()
        self._by_id: OrderedDict[bytes, DataKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"Keyring(kek_id={self._kek_id})"

    @classmethod
    async def open(cls, connection: Connection, passphrases: Passphrases, randomness: Randomness) -> "Keyring":
        """The keyring of the log, made at the first call. Blocks for the derivation, a tenth of a second.

        Raises:
            KeyUnusableError: wrong passphrase, or weakened parameters.
        """
        stored = await store.read_kek(connection)
        if stored is None:
            kek, parameters = create_kek(passphrases.current(), randomness)
            wrapped = kek.wrap(randomness(KEY_BYTES))
            await store.insert_kek(connection, store.StoredKek(FIRST_KEK_ID, parameters, wrapped))
            stored = await store.read_kek(connection)
            assert stored is not None
        kek = passphrases.load(stored.parameters)
        return cls(kek, stored.kek_id, kek.unwrap(stored.search_key_wrapped), randomness, passphrases)

    async def rotate(self, connection: Connection) -> int:
        """Wrap every data key under a new passphrase, in a transaction; how many there are.

        The data keys themselves stay, and with them every ciphertext and every hash.
        """
        kek, parameters = create_kek(self._passphrases.next(), self._randomness)
        kek_id = self._kek_id + 1
        async with connection.transaction():
            await store.insert_kek(connection, store.StoredKek(kek_id, parameters, kek.wrap(self.search_key)))
            rows = await store.read_all_data_keys(connection)
            await store.rewrap_data_keys(
                connection, kek_id, {row.key_id: kek.wrap(self._kek.unwrap(row.wrapped)) for row in rows}
            )
        self._kek, self._kek_id = kek, kek_id
        self._passphrases.adopt_next()
        return len(rows)

    def blind(self, field_name: str, value: str) -> bytes:
        """The search tag of a value."""
        return blind(self.search_key, field_name, value)

    async def for_batch(self, connection: Connection, uses: Mapping[str, int], period: str) -> BatchKeys:
        """A data key for each subject, with room for that many more entries; new ones where there is none."""
        absent = [subject for subject in uses if self._room(self._current.get((subject, period))) < uses[subject]]
        stored = await self._read_period(connection, absent, period) if absent else {}
        found: dict[str, DataKey] = {}
        created: list[DataKey] = []
        for subject, count in uses.items():
            cached = stored.get(subject) or self._current.get((subject, period))
            if cached is None or self._room(cached) < count:
                key = create_data_key(subject, period, self._randomness)
                created.append(key)
            else:
                key = cached.key
            found[subject] = key
        return BatchKeys(found, created)

    def wrapped(self, key: DataKey) -> store.StoredDataKey:
        """A new data key as it is stored."""
        return store.StoredDataKey(
            key.key_id,
            self._kek_id,
            self.blind("subject", key.subject),
            key.period,
            self._kek.wrap(key.key),
            key.commitment,
            0,
        )

    def committed(self, keys: BatchKeys, uses: Mapping[bytes, int]) -> None:
        """Remember, once a batch is committed, which keys exist and how often each was used."""
        for key in keys.by_subject.values():
            slot = (key.subject, key.period)
            cached = self._current.get(slot)
            if cached is None or cached.key.key_id != key.key_id:
                cached = _CachedKey(key, 0)
            cached.entries += uses.get(key.key_id, 0)
            _put(self._current, slot, cached)
            _put(self._by_id, key.key_id, key)

    def forget(self) -> None:
        """Drop every cached data key: after a failed batch, or an erasure."""
        self._current.clear()
        self._by_id.clear()

    async def destroy_before(self, connection: Connection, period: str) -> None:
        """Destroy the data keys of the periods before ``period``: no entry that is left is under them."""
        await store.destroy_before(connection, period)
        # Nothing of them is left here either. What is in use stays cached: a batch may be under way.
        for slot in [slot for slot in self._current if slot[1] < period]:
            del self._current[slot]
        for key_id in [key_id for key_id, key in self._by_id.items() if key.period < period]:
            del self._by_id[key_id]

    async def open_keys(self, connection: Connection, key_ids: Collection[bytes]) -> dict[bytes, DataKey]:
        """The data keys of these ids, as far as they still exist.

        Raises:
            KeyUnusableError: a stored key was tampered with.
        """
        rows = await store.read_data_keys(connection, list(key_ids))
        if any(row.kek_id != self._kek_id for row in rows):
            await self._reload(connection)
        return {row.key_id: self._by_id.get(row.key_id) or self._unwrap(row, subject="") for row in rows}

    async def current_kek(self, connection: Connection) -> KeyEncryptionKey:
        """The key-encryption key that the database names as the newest."""
        stored = await store.read_kek(connection)
        if stored is not None and stored.kek_id != self._kek_id:
            await self._reload(connection)
        return self._kek

    async def _reload(self, connection: Connection) -> None:
        """Take over the key-encryption key that another process has rotated to."""
        stored = await store.read_kek(connection)
        assert stored is not None
        self._kek, self._kek_id = self._passphrases.load(stored.parameters), stored.kek_id

    async def _read_period(self, connection: Connection, subjects: Sequence[str], period: str) -> dict[str, _CachedKey]:
        by_tag = {self.blind("subject", subject): subject for subject in subjects}
        rows = await store.read_period_keys(connection, list(by_tag), period)
        found: dict[str, _CachedKey] = {}
        for row in rows:
            subject = by_tag[row.subject]
            cached = _CachedKey(self._unwrap(row, subject=subject), row.entries)
            found[subject] = cached
            _put(self._current, (subject, period), cached)
        return found

    def _unwrap(self, row: store.StoredDataKey, subject: str) -> DataKey:
        return unwrap_data_key(
            self._kek,
            key_id=row.key_id,
            subject=subject,
            period=row.period,
            wrapped=row.wrapped,
            commitment=row.commitment,
        )

    @staticmethod
    def _room(cached: _CachedKey | None) -> int:
        return 0 if cached is None else ENTRIES_PER_KEY_MAX - cached.entries


def _put(cache: "OrderedDict[KeyT, ValueT]", key: KeyT, value: ValueT) -> None:
    """Newest last; the oldest leaves when the cache is full."""
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > CACHED_KEYS_MAX:
        cache.popitem(last=False)
