"""Pruning: the oldest partitions go, once a signed record of it is an entry of the log and a checkpoint covers that.

In this order, so that a crash anywhere leaves either nothing done or a record that says what may be gone:
the entries are checked, the record is signed, logged and covered, search terms are emptied, partitions are dropped,
data keys that served only what is gone are destroyed. What a crash left undone the next run finishes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from hookbus.audit.entries import Incoming
from hookbus.audit.inspection import FaultError, KeyLedger
from hookbus.audit.keys import period_of
from hookbus.audit.opened import OpenLog, own_entry
from hookbus.audit.proofs import consistency_proof, tree_root
from hookbus.audit.prune_record import prune_event_id
from hookbus.audit.pruned import absorb_pruned, ids_digest, read_record
from hookbus.audit.record import from_microseconds
from hookbus.audit.repository import pruning, reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.sequencer import Reign, system_clock_us
from hookbus.audit.snapshot import require_usable, snapshot
from hookbus.audit.stretches import Opening, inspect
from hookbus.audit.tiles import TILE_WIDTH
from hookbus.audit.verify import LogVerifier
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import Database

PARTITIONS_AT_ONCE_MAX: Final = 4
"""Partitions checked and dropped by one run; whoever asked asks again for more."""
STRETCH_ENTRIES: Final = 32 * TILE_WIDTH
"""Entries checked, or search rows emptied, at once."""
ANNOUNCEMENTS_AT_ONCE: Final = 1_000
"""Data keys announced anew in one batch."""
DROP_ATTEMPTS_MAX: Final = 10
DROP_RETRY_S: Final = 0.5
"""A partition somebody reads is not dropped; the next try comes after this."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Limit:
    """What may go: entries of an index below ``below``, entries appended before ``before``. One of them is set."""

    below: int | None = None
    before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """Entries ``[first, cut)`` are pruned by this run, or would be. ``pending`` counts recorded partitions that are
    still there, because somebody reads them. ``more`` says that another run would prune more."""

    first: int
    cut: int
    partitions: int
    pending: int
    more: bool


class Pruning:
    """The pruning of one log, one run at a time. Only the process that appends can do it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = asyncio.Lock()

    async def run(self, opened: OpenLog, limit: Limit, *, actor: str, reason: str, dry_run: bool = False) -> Pruned:
        """Prune what ``limit`` allows, whole partitions that a checkpoint covers, and finish what was begun.

        Raises:
            ProblemError: ``unavailable``: this process does not append. ``conflict``: what is to go does not verify.
            SigningRefusedError, SignerAwayError: no record, so nothing is pruned.
        """
        async with self._lock:
            async with self._database.raw() as connection:
                first = await pruning.pruned_below(connection)
                found = await self._eligible(connection, first, limit)
                chosen = found[:PARTITIONS_AT_ONCE_MAX]
                cut = chosen[-1].end_index if chosen else first
                if dry_run:
                    return Pruned(first, found[-1].end_index if found else first, len(found), 0, more=False)
                if chosen:
                    await self._record(opened, connection, cut, actor=actor, reason=reason)
            pending = await self._finish(opened, cut) if cut else 0
            return Pruned(first, cut, len(chosen), pending, more=len(found) > len(chosen))

    async def _eligible(self, connection: Connection, first: int, limit: Limit) -> list[pruning.Partition]:
        """The partitions from ``first`` on that ``limit`` takes whole."""
        note = await reading.latest_note(connection)
        published = 0 if note is None else int(note.split("\n")[1])
        found: list[pruning.Partition] = []
        for partition in await pruning.read_partitions(connection):
            if partition.end_index <= first:
                continue
            if partition.end_index > published or (limit.below is not None and partition.end_index > limit.below):
                break
            if limit.before is not None:
                newest = await pruning.entry_time(connection, partition.end_index - 1)
                if newest is None or newest >= limit.before:
                    break
            found.append(partition)
        return found

    async def _record(self, opened: OpenLog, connection: Connection, cut: int, *, actor: str, reason: str) -> None:
        """Check what is to go, then sign, log and cover the record of it."""
        ledger = await _checked(opened, connection, cut)
        ids = await ids_digest(connection, cut)
        await opened.signer.refresh()
        last = opened.signer.last
        if last is None or last.size < cut:
            raise ProblemError(ProblemCode.UNAVAILABLE, "no checkpoint covers the entries yet", retry_after_s=1)
        proof = await consistency_proof(connection, cut, last.size)
        note = await opened.signer.prune(cut, await tree_root(connection, cut), ids.value, proof)
        event_id = prune_event_id(note)
        data = {"note": note, "cut": cut, "actor": actor, "reason": reason}
        kept = await _announcements(opened, connection, ledger, cut)

        async def work(reign: Reign) -> None:
            for at in range(0, len(kept), ANNOUNCEMENTS_AT_ONCE):
                await opened.sequencer.commit(reign, kept[at : at + ANNOUNCEMENTS_AT_ONCE])

            async def also(connection: Connection) -> None:
                await pruning.insert_prune(connection, cut, note, event_id)

            await opened.sequencer.commit(reign, [own_entry("pruned", {**data}, event_id)], also=also)

        await opened.sequencer.between_batches(work)
        await opened.publisher.publish()
        log.info("pruned", cut=cut)

    async def _finish(self, opened: OpenLog, cut: int) -> int:
        """Bring about what the records say; how many recorded partitions are left because somebody reads them."""
        async with self._database.raw() as connection:
            for partition in await pruning.read_partitions(connection):
                for at in range(partition.first_index, min(partition.end_index, cut), STRETCH_ENTRIES):
                    await pruning.forget_terms_below(connection, at, min(at + STRETCH_ENTRIES, cut))
            attempts = 0
            while True:
                try:
                    if await pruning.drop_pruned(connection) is None:
                        break
                except asyncpg.LockNotAvailableError:
                    attempts += 1
                    if attempts == DROP_ATTEMPTS_MAX:
                        left = [one for one in await pruning.read_partitions(connection) if one.end_index <= cut]
                        log.warning("pruned partitions are still being read", partitions=len(left))
                        return len(left)
                    await asyncio.sleep(DROP_RETRY_S)
            oldest = await pruning.entry_time(connection, cut)
            if oldest is not None:
                await opened.keyring.destroy_before(connection, period_of(oldest))
        return 0


async def _checked(opened: OpenLog, connection: Connection, cut: int) -> KeyLedger:
    """What the entries up to ``cut`` say of data keys. What was changed is not destroyed but reported."""
    try:
        return await _check(opened, connection, cut)
    except FaultError as fault:
        raise ProblemError(ProblemCode.CONFLICT, f"nothing is pruned: the log is not intact: {fault}") from fault


async def _check(opened: OpenLog, connection: Connection, cut: int) -> KeyLedger:
    """Check the entries up to ``cut``, decrypted, against the tiles; raises FaultError."""
    # One state: an erasure meanwhile would empty search terms of entries whose keys are at hand here.
    async with snapshot(connection, opened.keyring) as (state, found):
        assert state is not None
        keys = require_usable(found)
        assert keys is not None
        ledger = KeyLedger()
        record = await read_record(connection, opened.signer.trust)
        verifier = LogVerifier(state.log_id, [] if record is None else [record.checkpoint], decrypt=False)
        if record is not None:
            await absorb_pruned(connection, verifier, record, STRETCH_ENTRIES)
        opening = Opening(keys, opened.keyring.search_key, 0 if record is None else record.cut)
        for first in range(verifier.size, cut, STRETCH_ENTRIES):
            end = min(cut, first + STRETCH_ENTRIES)
            stretch = await inspect(connection, state.log_id, opening, first, end)
            if stretch.search_fault is not None:
                raise FaultError(*stretch.search_fault)
            verifier.absorb(stretch.inspected, await reading.full_tiles(connection, first, end))
            if stretch.inspected.ledger is not None:
                ledger.absorb(stretch.inspected.ledger)
        if verifier.root != await tree_root(connection, cut):
            raise FaultError(None, "the stored tiles contradict each other")
        return ledger


async def _announcements(opened: OpenLog, connection: Connection, ledger: KeyLedger, cut: int) -> Sequence[Incoming]:
    """The data keys announced in what is to go and used in what stays, announced anew."""
    oldest = await pruning.entry_time(connection, cut)
    period = period_of(from_microseconds(system_clock_us()) if oldest is None else oldest)
    stored = {key_id: made for key_id, made in (await opened.keyring.periods()).items() if made >= period}
    return [
        own_entry(
            "key_created",
            {"key_id": key_id.hex(), "commitment": commitment.hex(), "period": stored[key_id], "again": True},
        )
        for key_id, commitment in ledger.commitments.items()
        if key_id in stored
    ]
