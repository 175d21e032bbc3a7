"""The keys at hand: the key-encryption key, and data keys unwrapped and cached."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hookbus.audit.keys import (
    ENTRIES_PER_KEY_MAX,
    KEY_BYTES,
    DataKey,
    KeyEncryptionKey,
    KeyUnusableError,
    Randomness,
    blind,
    create_data_key,
    unwrap_data_key,
)
from hookbus.audit.keystore import KeyStore, StoredKek, WrappedKey
from hookbus.audit.passphrases import KekFiles, KekKind, NextKek
from hookbus.audit.repository import keys as listed
from hookbus.audit.repository.leading import Connection

CACHED_KEYS_MAX: Final = 10_000
"""Unwrapped data keys held in memory."""

FIRST_KEK_ID: Final = 1
ROTATIONS_MET_MAX: Final = 5
"""Rotations that one read of keys, or one write, may meet."""

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
        self, store: KeyStore, kek: KeyEncryptionKey, stored: StoredKek, files: KekFiles, randomness: Randomness
    ) -> None:
        self._store = store
        self._randomness = randomness
        self._files = files
        self._kek = kek
        self._stored = stored
        self.search_key = kek.unwrap(stored.search_key_wrapped)
        self._turning = asyncio.Lock()
        """One change of the key-encryption key at a time: made here, or taken over from another process."""
        self._current: OrderedDict[tuple[str, str], _CachedKey] = OrderedDict()
        self._by_id: OrderedDict[bytes, DataKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"Keyring(kek_id={self._stored.kek_id})"

    @classmethod
    async def open(cls, connection: Connection, store: KeyStore, files: KekFiles, randomness: Randomness) -> "Keyring":
        """The keyring of the log, made at the first call.

        Raises:
            KeyUnusableError: wrong passphrase or key file, weakened parameters, or the log's keys are gone.
            KeyFileError: a file is absent, or others may read it.
        """
        await store.open()
        legacy = await listed.read_legacy(connection)
        if legacy is not None:
            await store.adopt(legacy.kek, legacy.keys)
            await listed.clear_legacy(connection)
        stored = await store.read_kek()
        if stored is None:
            if await listed.has_keys(connection):
                raise KeyUnusableError(f"{store.path}: the key store is empty, and the log has keys: restore it")
            kek, parameters = await asyncio.to_thread(files.create)
            stored = await store.create_kek(StoredKek(FIRST_KEK_ID, parameters, kek.wrap(randomness(KEY_BYTES))))
        kek = await asyncio.to_thread(files.load, stored.parameters)
        return cls(store, kek, stored, files, randomness)

    async def next_kek(self, to: KekKind | None) -> NextKek:
        """What to rotate to: of the kind in use, or of the kind ``to``. Raises as :meth:`open`; changes no key."""
        await self._take_over()
        return await asyncio.to_thread(self._files.next, self._stored.parameters, to)

    async def rotate(self, fresh: NextKek) -> int:
        """Wrap every data key under a new key-encryption key, in one transaction of the store; how many there are.

        The data keys themselves stay, and with them every ciphertext and every hash.

        Raises:
            KeyUnusableError: a data key was tampered with, or another process rotates as well; nothing is changed.
        """
        async with self._turning:
            old = self._kek
            search_key = fresh.kek.wrap(self.search_key)
            stored = StoredKek(self._stored.kek_id + 1, fresh.parameters, search_key)
            count = await self._store.rewrap(stored, lambda row: fresh.kek.wrap(old.unwrap(row.wrapped)))
            self._kek, self._stored = fresh.kek, stored
            await asyncio.to_thread(fresh.adopt)
        return count

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

    async def keep(self, keys: Sequence[DataKey]) -> None:
        """Put new data keys into the store. One whose batch then fails stays there unused."""
        if not keys:
            return
        for _ in range(ROTATIONS_MET_MAX):
            async with self._turning:
                kek_id = self._stored.kek_id
                if await self._store.add([self._wrapped(key, kek_id) for key in keys], kek_id):
                    return
            # This process stood by, or was paused, while another rotated.
            await self._take_over()
        raise KeyUnusableError("no key-encryption key stays long enough to wrap a new data key under it")

    def _wrapped(self, key: DataKey, kek_id: int) -> WrappedKey:
        subject = self.blind("subject", key.subject)
        return WrappedKey(key.key_id, kek_id, subject, key.period, self._kek.wrap(key.key), key.commitment)

    def listed(self, keys: Sequence[DataKey]) -> list[tuple[DataKey, bytes]]:
        """New data keys with their blinded subjects, as the database lists them."""
        return [(key, self.blind("subject", key.subject)) for key in keys]

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

    async def of_subject(self, subject: str) -> list[bytes]:
        """The ids of a subject's data keys."""
        return [row.key_id for row in await self._store.of_subjects([self.blind("subject", subject)])]

    async def destroy(self, key_ids: Collection[bytes]) -> int:
        """Destroy data keys; how many there were. What they encrypt is unreadable from then on."""
        count = await self._store.destroy(key_ids)
        for key_id in key_ids:
            self._by_id.pop(key_id, None)
        for slot in [slot for slot, cached in self._current.items() if cached.key.key_id in key_ids]:
            del self._current[slot]
        return count

    async def destroy_before(self, connection: Connection, period: str) -> None:
        """Destroy the data keys of the periods before ``period``: no entry that is left is under them."""
        old = [key_id for key_id, made in (await self.periods()).items() if made < period]
        await listed.forget_before(connection, period)
        await self.destroy(old)

    async def periods(self) -> dict[bytes, str]:
        """Key id -> period of every data key there is."""
        return {row.key_id: row.period for row in await self._store.read_all()}

    async def open_keys(self, key_ids: Collection[bytes]) -> dict[bytes, DataKey]:
        """The data keys of these ids, as far as they still exist.

        Raises:
            KeyUnusableError: a stored key was tampered with.
        """
        kek, rows = await self._consistent(lambda: self._store.read(key_ids))
        return {row.key_id: self._by_id.get(row.key_id) or _unwrap(kek, row) for row in rows}

    async def all_keys(self) -> dict[bytes, bytes]:
        """Key id -> data key, for a check of everything. Raises as :meth:`open_keys`."""
        kek, rows = await self._consistent(self._store.read_all)
        return await asyncio.to_thread(lambda: {row.key_id: _unwrap(kek, row).key for row in rows})

    async def _consistent(
        self, read: Callable[[], Awaitable[Sequence[WrappedKey]]]
    ) -> tuple[KeyEncryptionKey, Sequence[WrappedKey]]:
        """Rows, and the key-encryption key they are wrapped under: a rotation may come between the two."""
        for _ in range(ROTATIONS_MET_MAX):
            rows = await read()
            if all(row.kek_id == self._stored.kek_id for row in rows):
                return self._kek, rows
            await self._take_over()
        raise KeyUnusableError("the data keys are not wrapped under the key-encryption key that the store names")

    async def _take_over(self) -> None:
        """Turn to the key-encryption key that another process, or this one meanwhile, has rotated to."""
        async with self._turning:
            stored = await self._store.read_kek()
            if stored is not None and stored.kek_id != self._stored.kek_id:
                self._kek, self._stored = await asyncio.to_thread(self._files.load, stored.parameters), stored

    async def _read_period(self, connection: Connection, subjects: Sequence[str], period: str) -> dict[str, _CachedKey]:
        """The newest data key of each subject that both the store and the database know."""
        by_tag = {self.blind("subject", subject): subject for subject in subjects}
        kek, rows = await self._consistent(lambda: self._store.of_subjects(list(by_tag), period))
        entries = await listed.entries_under(connection, [row.key_id for row in rows])
        found: dict[str, _CachedKey] = {}
        for row in rows:
            if row.key_id in entries:
                key = _unwrap(kek, row, by_tag[row.subject])
                found[key.subject] = _CachedKey(key, entries[row.key_id])
        for subject, cached in found.items():
            _put(self._current, (subject, period), cached)
        return found

    @staticmethod
    def _room(cached: _CachedKey | None) -> int:
        return 0 if cached is None else ENTRIES_PER_KEY_MAX - cached.entries


def _unwrap(kek: KeyEncryptionKey, row: WrappedKey, subject: str = "") -> DataKey:
    return unwrap_data_key(
        kek,
        key_id=row.key_id,
        subject=subject,
        period=row.period,
        wrapped=row.wrapped,
        commitment=row.commitment,
    )


def _put(cache: "OrderedDict[KeyT, ValueT]", key: KeyT, value: ValueT) -> None:
    """Newest last; the oldest leaves when the cache is full."""
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > CACHED_KEYS_MAX:
        cache.popitem(last=False)
