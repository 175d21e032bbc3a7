"""API keys as the gateway sees them: records from the key-value bucket, held for half a second.

The bucket is what a revocation reaches first, so a record is never trusted for longer than :data:`RECORD_AGE_S_MAX`.
What the bucket lacks is asked of the session service, whose table is the truth. When neither can be read nobody gets
in.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from hookbus.contracts import subjects
from hookbus.contracts.fields import WireModel
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import ApiKeyRecord, KeyLookupRequest
from hookbus.platform.bus.connection import is_connected, jetstream
from hookbus.platform.bus.rpc import RpcClient

RECORD_AGE_S_MAX: Final = 0.5
"""How long a record, or the knowledge that there is none, is used without asking again."""
RECORDS_MAX: Final = 4_096
LOOKUP_TIMEOUT_S: Final = 1.0
RETRY_AFTER_S: Final = 1.0

RecordT = TypeVar("RecordT", bound=WireModel)


class RecordSource(Generic[RecordT]):
    """Fetches the records of one bucket. ``unreadable`` is what a caller is told while it cannot be read."""

    def __init__(self, broker: NatsBroker, name: str, record_class: type[RecordT], unreadable: str) -> None:
        self._broker = broker
        self._name = name
        self._record_class = record_class
        self._unreadable_detail = unreadable
        self._bucket: KeyValue | None = None

    async def from_bucket(self, key: str) -> RecordT | None:
        """The bucket's record, or None where it has none.

        Raises:
            ProblemError: ``unavailable`` when the bucket cannot be read.
        """
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT_S):
                if not is_connected(self._broker):
                    raise self.unreadable()
                if self._bucket is None:
                    self._bucket = await jetstream(self._broker).key_value(self._name)
                entry = await self._bucket.get(key)
            return self._record_class.model_validate_json(entry.value or b"")
        except KeyNotFoundError:
            return None
        except (NatsError, IncorrectState, TimeoutError, OSError, ValidationError) as error:
            self._bucket = None
            raise self.unreadable() from error

    def unreadable(self) -> ProblemError:
        """The problem of a record that cannot be had."""
        return ProblemError(ProblemCode.UNAVAILABLE, self._unreadable_detail, retry_after_s=RETRY_AFTER_S)


class KeySource(RecordSource[ApiKeyRecord]):
    """Fetches records of API keys: the bucket first, then the session service."""

    def __init__(self, broker: NatsBroker, rpc: RpcClient) -> None:
        super().__init__(broker, subjects.BUCKET_API_KEYS, ApiKeyRecord, "API keys cannot be checked now")
        self._rpc = rpc

    async def from_service(self, key_id: str) -> ApiKeyRecord | None:
        """The session service's record, or None where it knows no such key."""
        try:
            return await self._rpc.call(
                "session",
                "key_lookup",
                KeyLookupRequest(key_id=key_id),
                ApiKeyRecord,
                timeout_s=LOOKUP_TIMEOUT_S,
            )
        except ProblemError as error:
            if error.problem.code is ProblemCode.NOT_FOUND:
                return None
            if error.problem.code is ProblemCode.UNAVAILABLE:
                raise
            raise self.unreadable() from error


@dataclass(frozen=True)
class _Held(Generic[RecordT]):
    record: RecordT | None
    fetched_at: float


class RecordCache(Generic[RecordT]):
    """Records by key, at most :data:`RECORDS_MAX`, each for :data:`RECORD_AGE_S_MAX`; one fetch at a time a key."""

    def __init__(
        self, fetch: Callable[[str], Awaitable[RecordT | None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._held: OrderedDict[str, _Held[RecordT]] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[RecordT | None]] = {}

    def __len__(self) -> int:
        return len(self._held)

    async def get(self, key_id: str) -> RecordT | None:
        """The record, fetched unless a fresh one is held; None where there is no such key.

        Raises:
            ProblemError: what the fetch raises; nothing is held then.
        """
        held = self._held.get(key_id)
        if held is not None and self._clock() - held.fetched_at < RECORD_AGE_S_MAX:
            return held.record
        task = self._fetching.get(key_id)
        if task is None:
            # A task of its own: a caller that leaves must not take the fetch away from those who wait with it.
            task = asyncio.create_task(self._fetch_and_hold(key_id))
            self._fetching[key_id] = task
            task.add_done_callback(lambda done: self._fetched(key_id, done))
        return await asyncio.shield(task)

    def forget(self, key_id: str) -> None:
        """Ask again at the next call."""
        self._held.pop(key_id, None)

    def _fetched(self, key_id: str, task: asyncio.Task[RecordT | None]) -> None:
        self._fetching.pop(key_id, None)
        if not task.cancelled():
            task.exception()  # mark as seen, should every caller have left

    async def _fetch_and_hold(self, key_id: str) -> RecordT | None:
        asked_at = self._clock()  # before the question: the answer may be that old
        record = await self._fetch(key_id)
        self._held[key_id] = _Held(record, asked_at)
        self._held.move_to_end(key_id)
        if len(self._held) > RECORDS_MAX:
            self._held.popitem(last=False)
        return record


KeyCache = RecordCache[ApiKeyRecord]
