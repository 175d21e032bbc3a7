"""The one appender: gathers events into batches, gives each its place, commits batch by batch.

It runs the reign of one connection: it leads only while that connection holds the lock, and every commit goes through
it. A batch is known to be in the log only once :meth:`Sequencer.append` returns.
"""

import asyncio
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import asyncpg
import structlog

from hookbus.audit.batch import Batch, build
from hookbus.audit.entries import Incoming, own_event
from hookbus.audit.keyring import BatchKeys, Keyring
from hookbus.audit.keys import DataKey, Randomness, period_of, subject_of
from hookbus.audit.record import Stream, from_microseconds
from hookbus.audit.repository import appending, leading
from hookbus.audit.repository import keys as key_store
from hookbus.audit.tiles import TILE_HEIGHT, LogTree, partial_addresses
from hookbus.contracts.problems import ProblemCode, ProblemError

BATCH_ENTRIES_MAX: Final = 4_000
"""Events in one transaction."""
QUEUE_REQUESTS_MAX: Final = 64
"""Calls of ``append`` that wait; more wait for room. The bus bounds what they hold."""
PARTITION_ENTRIES: Final = 1_048_576
"""Entries in one partition of the table, where nobody set another width: retention drops whole ones."""
LEAD_RETRY_S: Final = 0.5
NOT_LEADING_RETRY_AFTER_S: Final = 1.0

log = structlog.get_logger(__name__)

ResultT = TypeVar("ResultT")
Clock = Callable[[], int]
"""Microseconds since 1970 UTC."""


def system_clock_us() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000


@dataclass(slots=True)
class _Request:
    incoming: Sequence[Incoming]
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Position:
    """What is committed now, as the process that appends knows it."""

    origin: str
    epoch: int
    tree: LogTree


@dataclass(slots=True)
class Reign:
    """What is true while this process appends."""

    connection: leading.Connection
    log_id: bytes
    origin: str
    epoch: int
    tree: LogTree
    time_us: int
    partitions_to: int


Work = Callable[[Reign], Awaitable[ResultT]]
Also = Callable[[leading.Connection], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Pending:
    """Work that waits for the end of a batch."""

    run: Callable[[Reign], Awaitable[None]]
    done: asyncio.Future[Any]

    def refuse(self) -> None:
        """Tell whoever waits that it is not done."""
        if not self.done.done():
            self.done.set_exception(_not_leading())


class Sequencer:
    """Appends to the log while it leads."""

    def __init__(
        self,
        keyring: Keyring,
        randomness: Randomness,
        clock: Clock = system_clock_us,
        *,
        partition_entries: int = PARTITION_ENTRIES,
    ) -> None:
        """``partition_entries`` is how many entries go into each partition that is made from now on."""
        self._partition_entries = partition_entries
        self._keyring = keyring
        self._randomness = randomness
        self._clock = clock
        self._queue: asyncio.Queue[_Request] = asyncio.Queue(QUEUE_REQUESTS_MAX)
        self._work: deque[_Pending] = deque()
        self._reign: Reign | None = None
        self._grown = asyncio.Event()

    @property
    def leads(self) -> bool:
        """Whether this process appends."""
        return self._reign is not None

    @property
    def position(self) -> Position | None:
        """Where the log stands; None while another process appends."""
        reign = self._reign
        return None if reign is None else Position(reign.origin, reign.epoch, reign.tree)

    @property
    def grown(self) -> asyncio.Event:
        """Set by each commit; whoever waits on it clears it."""
        return self._grown

    async def append(self, incoming: Sequence[Incoming]) -> None:
        """Return once every event is in the log, those it held before included.

        Raises:
            ProblemError: ``unavailable``: this process does not lead (any more), or the database is away.
        """
        if self._reign is None:
            raise _not_leading()
        if not incoming:
            return
        request = _Request(incoming, asyncio.get_running_loop().create_future())
        await self._queue.put(request)
        if not self.leads:
            # It ended while this call waited for room: nobody serves the queue now.
            self._refuse_waiting()
        await request.done

    async def between_batches(self, work: Work[ResultT]) -> ResultT:
        """Run ``work`` while nothing is being appended, and nothing can be: for what must not meet a batch half way.

        Raises:
            ProblemError: ``unavailable``: this process does not lead (any more).
        """
        if self._reign is None:
            raise _not_leading()
        done: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()

        async def run(reign: Reign) -> None:
            try:
                result = await work(reign)
            except BaseException:
                if not done.done():
                    done.set_exception(_not_leading())
                raise
            if not done.done():
                done.set_result(result)

        self._work.append(_Pending(run, done))
        return await done

    async def reign(self, connection: leading.Connection) -> None:
        """Lead on ``connection`` until it fails or another process takes over. Returns only by an exception.

        Raises:
            leading.FencedError, asyncpg errors, OSError: the reign is over.
        """
        state = await self._wait_for_lead(connection)
        try:
            tree = await _load_tree(connection, state)
            self._reign = Reign(
                connection, state.log_id, state.origin, state.epoch, tree, state.last_time_us, partitions_to=0
            )
            log.info("appending", size=tree.frontier.size, epoch=state.epoch)
            self._grown.set()
            while True:
                await self._serve(self._reign)
        finally:
            self._reign = None
            self._keyring.forget()
            self._refuse_waiting()
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await leading.resign(connection)

    async def _wait_for_lead(self, connection: leading.Connection) -> leading.LogState:
        while True:
            state = await leading.try_lead(connection)
            if state is not None:
                return state
            await asyncio.sleep(LEAD_RETRY_S)

    async def _serve(self, reign: Reign) -> None:
        """Commit the next batch, or renew the lease where there is none; then do what waits in between."""
        while self._work:
            await self._work.popleft().run(reign)
        try:
            async with asyncio.timeout(leading.LEASE_RENEWAL_S):
                first = await self._queue.get()
        except TimeoutError:
            await leading.renew_lease(reign.connection, reign.epoch)
            return
        requests = [first]
        count = len(first.incoming)
        while count < BATCH_ENTRIES_MAX and not self._queue.empty():
            requests.append(self._queue.get_nowait())
            count += len(requests[-1].incoming)
        try:
            await self.commit(reign, [item for request in requests for item in request.incoming])
        except BaseException:
            for request in requests:
                if not request.done.done():
                    request.done.set_exception(_not_leading())
            raise
        for request in requests:
            if not request.done.done():
                request.done.set_result(None)

    async def commit(self, reign: Reign, incoming: Sequence[Incoming], also: Also | None = None) -> None:
        """Append ``incoming`` as one batch, from within :meth:`between_batches` or the sequencer itself.

        Args:
            reign: the reign in which this runs.
            incoming: events; those the log holds already are left out.
            also: more statements of the same transaction.

        Raises:
            leading.FencedError, asyncpg errors, OSError: nothing is known to be committed, and the reign is over.
        """
        fresh = await self._fresh(reign.connection, incoming)
        if not fresh:
            return
        # Never behind the entry before: times rise with the index, whatever the clock does.
        time_us = max(self._clock(), reign.time_us)
        moment = from_microseconds(time_us)
        keys, fresh = await self._with_keys(reign.connection, fresh, moment)
        size = reign.tree.frontier.size
        if size + len(fresh) >= reign.partitions_to:
            reign.partitions_to = size + len(fresh) + self._partition_entries
            await appending.ensure_partitions(reign.connection, reign.partitions_to, self._partition_entries)
        batch = build(
            fresh,
            log_id=reign.log_id,
            tree=reign.tree,
            time_us=time_us,
            keys=keys.by_subject,
            search_key=self._keyring.search_key,
            randomness=self._randomness,
        )
        await self._write(reign, batch, keys, also)
        reign.tree = batch.tree
        reign.time_us = time_us
        self._keyring.committed(keys, batch.uses)
        self._grown.set()

    async def _write(self, reign: Reign, batch: Batch, keys: BatchKeys, also: Also | None) -> None:
        connection = reign.connection
        # Ahead of the transaction: an entry nobody has the key of could never be read.
        await self._keyring.keep(keys.created)
        async with connection.transaction():
            await leading.advance(
                connection,
                epoch=reign.epoch,
                from_size=reign.tree.frontier.size,
                to=batch.tree.frontier,
                last_time_us=batch.time_us,
            )
            await key_store.insert_data_keys(connection, self._keyring.listed(keys.created))
            if await key_store.count_uses(connection, batch.uses) != len(batch.uses):
                # A key of this batch was destroyed meanwhile: nothing may be written that nobody can ever read.
                raise leading.FencedError
            await appending.insert_lookups(connection, batch.lookups)
            await appending.insert_entries(connection, batch.entries)
            await appending.insert_tiles(connection, batch.tiles)
            if also is not None:
                await also(connection)

    async def _fresh(self, connection: leading.Connection, incoming: Sequence[Incoming]) -> list[Incoming]:
        """The events the log does not hold, each once, in order."""
        first = {item.key: item for item in reversed(incoming)}
        known = await appending.known_ids(connection, list(first))
        return [item for item in incoming if first[item.key] is item and item.key not in known]

    async def _with_keys(
        self, connection: leading.Connection, fresh: Sequence[Incoming], moment: datetime
    ) -> tuple[BatchKeys, list[Incoming]]:
        """The data keys of a batch, and the batch with each new key announced ahead of its first use."""
        period = period_of(moment)
        uses = Counter(subject_of(item.stream, item.agent) for item in fresh)
        own = subject_of(Stream.LOG, "")
        # Room for the announcements themselves, one a subject at most.
        uses[own] += len(uses) + 1
        keys = await self._keyring.for_batch(connection, uses, period)
        announced = [_announcement(key, moment) for key in keys.created]
        return keys, [*announced, *fresh]

    def _refuse_waiting(self) -> None:
        while not self._queue.empty():
            request = self._queue.get_nowait()
            if not request.done.done():
                request.done.set_exception(_not_leading())
        while self._work:
            self._work.popleft().refuse()


async def _load_tree(connection: leading.Connection, state: leading.LogState) -> LogTree:
    size = state.frontier.size
    levels = -(-size.bit_length() // TILE_HEIGHT)
    partial = await appending.partial_tiles(connection, partial_addresses(size))
    return LogTree(state.frontier, tuple(partial.get(level, ()) for level in range(levels)))


def _announcement(key: DataKey, moment: datetime) -> Incoming:
    """The log entry that binds the log to a new data key, without naming whose it is."""
    return own_event(
        "key_created",
        f"key-{uuid.uuid4()}",
        moment.astimezone(UTC).isoformat(),
        {"key_id": key.key_id.hex(), "commitment": key.commitment.hex(), "period": key.period},
    )


def _not_leading() -> ProblemError:
    return ProblemError(
        ProblemCode.UNAVAILABLE, "the audit log is not taking entries now", retry_after_s=NOT_LEADING_RETRY_AFTER_S
    )
