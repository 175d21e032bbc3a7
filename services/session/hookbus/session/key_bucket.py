"""The ``api_keys`` bucket: how a key, and above all its revocation, reaches every gateway."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import ApiKeyRecord
from hookbus.contracts.subjects import BUCKET_API_KEYS
from hookbus.platform.bus.connection import jetstream
from hookbus.platform.database.engine import Database
from hookbus.session.domain.keys import StoredKey
from hookbus.session.repository import keys as key_rows

BUCKET_TIMEOUT_S: Final = 1.0
RETRY_AFTER_S: Final = 1.0
SYNC_KEYS_MAX: Final = 100
"""Keys written to the bucket while their rows are locked: one page."""


class KeyBucket(Protocol):
    """Where gateways look keys up."""

    async def put(self, record: ApiKeyRecord) -> None:
        """Store the latest of one key.

        Raises:
            ProblemError: ``unavailable``.
        """
        ...


class NatsKeyBucket:
    """The bucket on the bus."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def put(self, record: ApiKeyRecord) -> None:
        """Store the latest of one key; see :class:`KeyBucket`."""
        try:
            async with asyncio.timeout(BUCKET_TIMEOUT_S):
                bucket = await jetstream(self._broker).key_value(BUCKET_API_KEYS)
                await bucket.put(record.key_id, record.model_dump_json().encode())
        except (NatsError, TimeoutError, OSError, IncorrectState) as error:
            raise ProblemError(
                ProblemCode.UNAVAILABLE, "the key bucket cannot be written", retry_after_s=RETRY_AFTER_S
            ) from error


class KeySync:
    """Brings rows to the bucket. Every write happens under the row's lock, so an older state never follows a newer."""

    def __init__(self, database: Database, bucket: KeyBucket) -> None:
        self._database = database
        self._bucket = bucket

    async def sync(self, key_id: str) -> None:
        """Bring one key to the bucket.

        Raises:
            ProblemError: ``unavailable``; the key stays marked and :meth:`sync_waiting` brings it later.
        """
        async with self._database.begin() as connection:
            key = await key_rows.lock(connection, key_id)
            if key is not None:
                await self._bucket.put(key.record())
                await key_rows.mark_synced(connection, [key_id])

    async def sync_waiting(self) -> int:
        """Bring a page of the keys that wait; returns how many it brought."""
        async with self._database.begin() as connection:
            waiting = await key_rows.lock_unsynced(connection, items_max=SYNC_KEYS_MAX)
            for key in waiting:
                await self._bucket.put(key.record())
            if waiting:
                await key_rows.mark_synced(connection, [key.key_id for key in waiting])
            return len(waiting)

    async def sync_all(self) -> int:
        """Bring every unexpired key, revoked ones too, page by page; returns how many.

        Run at start, so that a bucket that was lost or restored from an older copy agrees with the database again.
        """
        count, after = 0, ""
        while True:
            async with self._database.begin() as connection:
                page: Sequence[StoredKey] = await key_rows.lock_page(connection, after=after, items_max=SYNC_KEYS_MAX)
                for key in page:
                    await self._bucket.put(key.record())
                if page:
                    await key_rows.mark_synced(connection, [key.key_id for key in page])
            count += len(page)
            if len(page) < SYNC_KEYS_MAX:
                return count
            after = page[-1].key_id
