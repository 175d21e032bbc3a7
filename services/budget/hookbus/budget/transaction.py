"""One batch of commands as one transaction: lock what they touch, judge them in order, write everything back."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg

from hookbus.budget import ledger
from hookbus.budget.accounts import GLOBAL_ACCOUNT, Account, Chain
from hookbus.budget.batch import Batch
from hookbus.budget.commands import Answer, Charge, Command, Hold, HoldState, Reserve
from hookbus.budget.directory import Directory
from hookbus.budget.notices import warning_event
from hookbus.budget.quick import QuickReserves
from hookbus.budget.repository import Connection, accounts, charges, outbox
from hookbus.budget.repository import holds as holds_repository
from hookbus.budget.repository import ledger as repository
from hookbus.budget.windows import Calendar

ATTEMPTS_MAX: Final = 5
"""Of one batch, when accounts moved or a dedupe key was taken while it waited for its locks."""
HOLD_CHAINS_REMEMBERED_MAX: Final = 50_000
"""Where holds made by this process are counted, by reservation and by operation. It only says what to lock."""

UUID_RANDOM_BYTES: Final = 10
RANDOM_BYTES: Final = 512 * UUID_RANDOM_BYTES


class StaleError(Exception):
    """The batch locked too few accounts; with what was learned it is worth another attempt."""


class Uuid7:
    """Makes a UUIDv7 of a moment: ids made later sort later, so their index grows at one end.

    The random part comes from the system in one piece for many ids, for each time it is asked is a system call.
    """

    def __init__(self) -> None:
        self._random = b""
        self._used = 0

    def __call__(self, at_us: int) -> UUID:
        """The next id."""
        if self._used == len(self._random):
            self._random, self._used = os.urandom(RANDOM_BYTES), 0
        piece = self._random[self._used : self._used + UUID_RANDOM_BYTES]
        self._used += UUID_RANDOM_BYTES
        random = int.from_bytes(piece, "big")
        milliseconds = (at_us // 1_000) & ((1 << 48) - 1)
        high, low = random >> 68, random & ((1 << 62) - 1)
        return UUID(int=(milliseconds << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low)


@dataclass(slots=True)
class _Needs:
    """What the ledger must have read before it can judge a batch."""

    keys: set[str] = field(default_factory=set[str])
    holds: set[UUID] = field(default_factory=set[UUID])
    operations: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    """Operations that charges end: the accounts of their holds are changed."""
    early: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    """Operations that reserves begin, which may have been settled before."""
    tools: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])
    requests: set[tuple[int, str]] = field(default_factory=set[tuple[int, str]])

    @classmethod
    def of(cls, commands: Sequence[Command], chains: Sequence[Chain]) -> "_Needs":
        needs = cls()
        for command, chain in zip(commands, chains, strict=True):
            if isinstance(command, Reserve):
                needs._of_reserve(command, chain.agent)
            elif isinstance(command, Charge):
                needs._of_charge(command, chain.agent)
            else:
                needs.holds.add(command.reservation)
        return needs

    def _of_reserve(self, command: Reserve, agent: int) -> None:
        if command.dedupe_key is not None:
            self.keys.add(command.dedupe_key)
        if command.hold and command.operation_id is not None:
            self.early.add((agent, command.operation_id))
        if command.tokens is None and command.usd_micros is None and command.tool is not None:
            self.tools.add((agent, command.tool))

    def _of_charge(self, command: Charge, agent: int) -> None:
        self.keys.add(command.dedupe_key)
        if command.reservation is not None:
            self.holds.add(command.reservation)
        elif command.operation_id is not None:
            self.operations.add((agent, command.operation_id))
        if command.request_id is not None:
            self.requests.add((agent, command.request_id))


class LedgerTransaction:
    """Runs batches on a connection, one after the other."""

    def __init__(
        self,
        directory: Directory,
        calendar: Calendar,
        *,
        subagents_max: int,
        new_id: Callable[[int], UUID] | None = None,
    ) -> None:
        self._directory = directory
        self._calendar = calendar
        self._new_id = new_id or Uuid7()
        self._subagents_max = subagents_max
        self._quick = QuickReserves(directory, calendar, self._new_id, subagents_max=subagents_max)
        self._hold_chains: dict[UUID | tuple[int, str], Chain] = {}

    async def run(self, connection: Connection, commands: Sequence[Command]) -> list[Answer]:
        """Do ``commands`` in order and commit; an answer for each.

        Raises:
            StaleError: the accounts kept moving.
            asyncpg.PostgresError, OSError: nothing was committed, or it is not known whether it was; a command with a
                dedupe key may be repeated.
        """
        self._directory.trim()
        done = await self._quick.attempt(connection, commands)
        if done is not None:
            answers, batch = done
            self._remember(batch)
            return answers
        attempt = 1
        while True:
            try:
                return await self._attempt(connection, commands)
            except (StaleError, asyncpg.UniqueViolationError):
                # Another process moved an account or wrote the same dedupe key: the next attempt sees it.
                self._hold_chains.clear()
                if attempt == ATTEMPTS_MAX:
                    raise
                attempt += 1

    async def _attempt(self, connection: Connection, commands: Sequence[Command]) -> list[Answer]:
        directory = self._directory
        directory.trim()
        unknown = {command.place for command in commands if not directory.knows(command.place)}
        if unknown:
            await directory.know(connection, unknown)
        chains = [directory.chain(command.place) for command in commands]
        moves = directory.moves
        needs = _Needs.of(commands, chains)
        locks = {GLOBAL_ACCOUNT}
        for chain in {*chains, *await self._chains_elsewhere(connection, needs)}:
            locks.update(chain.ids())
        async with connection.transaction():
            locked = await repository.lock(connection, locks)
            batch = await self._open(connection, needs, locked, moves)
            answers = [ledger.apply(batch, command, chain) for command, chain in zip(commands, chains, strict=True)]
            written_by = await _write(connection, batch)
        self._remember(batch)
        self._quick.learn(batch, {each.account_id: each.written_by for each in locked}, written_by, needs.tools)
        return answers

    async def _chains_elsewhere(self, connection: Connection, needs: _Needs) -> set[Chain]:
        """Where holds and requests that the batch names are counted: not always where their agents are counted now."""
        known = self._hold_chains
        chains = {known[name] for name in (*needs.holds, *needs.operations) if name in known}
        unknown_holds = {hold for hold in needs.holds if hold not in known}
        unknown_operations = {operation for operation in needs.operations if operation not in known}
        if unknown_holds or unknown_operations:
            found = await holds_repository.holds(connection, unknown_holds, unknown_operations)
            chains.update(hold.chain for hold in found.values())
        if needs.requests:
            requests = await charges.requests(connection, needs.requests)
            chains.update(request.chain for request in requests.values())
        return chains

    async def _open(
        self,
        connection: Connection,
        needs: _Needs,
        locked: Sequence[repository.Locked],
        moves: int,
    ) -> Batch:
        """Read, once the accounts are locked: what is read under the locks stays true until the commit."""
        await self._refresh(connection, locked)
        if self._directory.moves != moves:
            raise StaleError
        working: dict[int, Account] = {}
        for each in locked:
            config = self._directory.config(each.account_id)
            if config is None:
                raise StaleError
            working[each.account_id] = each.onto(Account(config))
        recorded = await repository.recorded(connection, needs.keys) if needs.keys else {}
        holds: dict[UUID, Hold] = {}
        if needs.holds or needs.operations or needs.early:
            holds = await holds_repository.holds(connection, needs.holds, needs.operations | needs.early)
        ending = [
            hold
            for hold in holds.values()
            if hold.state is HoldState.OPEN
            and (hold.id in needs.holds or (hold.chain.agent, hold.operation_id) in needs.operations)
        ]
        tools = needs.tools | {(hold.chain.agent, hold.tool) for hold in ending if hold.tool is not None}
        requests = await charges.requests(connection, needs.requests) if needs.requests else {}
        for chain in (*(hold.chain for hold in ending), *(each.chain for each in requests.values())):
            if any(account not in working for account in chain.ids()):
                raise StaleError
        return Batch(
            calendar=self._calendar,
            clock_us=max(each.clock_us for each in locked),
            accounts=working,
            new_id=self._new_id,
            subagents_max=self._subagents_max,
            holds=holds.values(),
            recorded=recorded,
            recent=await charges.recent(connection, tools) if tools else {},
            requests=requests,
        )

    async def _refresh(self, connection: Connection, locked: Sequence[repository.Locked]) -> None:
        """Read again what was set on accounts that changed since this process last looked."""
        stale: list[int] = []
        for each in locked:
            config = self._directory.config(each.account_id)
            if config is None or config.version != each.version:
                stale.append(each.account_id)
        if stale:
            self._directory.learn(await accounts.configs(connection, stale))

    def _remember(self, batch: Batch) -> None:
        if len(self._hold_chains) > HOLD_CHAINS_REMEMBERED_MAX:
            self._hold_chains.clear()
        for hold in batch.opened:
            self._hold_chains[hold.id] = hold.chain
            if hold.operation_id is not None:
                self._hold_chains[hold.chain.agent, hold.operation_id] = hold.chain


async def _write(connection: Connection, batch: Batch) -> int:
    """Write everything back; the number of the transaction, 0 where no balance changed."""
    written_by = 0
    if batch.rows:
        await repository.append(connection, batch.rows)
    if balances := [account for account in batch.accounts.values() if account.changed]:
        written_by = await repository.save(connection, balances)
    if batch.opened:
        await holds_repository.open_holds(connection, batch.opened)
    changed = list(batch.changed.values())
    if changed:
        await holds_repository.change_holds(connection, changed)
    recent = [(key, each) for key, each in batch.recent.items() if each.changed]
    if recent:
        await charges.save_recent(connection, recent)
    if batch.requests_changed:
        await charges.save_requests(connection, [(key, batch.requests[key]) for key in sorted(batch.requests_changed)])
    if batch.warned:
        await outbox.add(connection, [warning_event(each) for each in batch.warned])
    return written_by
