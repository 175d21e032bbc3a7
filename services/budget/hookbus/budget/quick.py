"""Reserves judged by what this process remembers, and committed in one statement.

A batch of reserves under lock takes ten round trips to the database; most find every balance as the last batch left it.
What is remembered may be out of date: the statement writes nothing then, and the batch is done under lock.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import asyncpg

from hookbus.budget.accounts import GLOBAL_ACCOUNT, Account
from hookbus.budget.batch import Batch, Recent
from hookbus.budget.commands import Answer, Command, Reserve
from hookbus.budget.directory import Directory
from hookbus.budget.repository import Connection
from hookbus.budget.repository import reserving as repository
from hookbus.budget.reserving import reserve
from hookbus.budget.windows import Calendar

BEHIND_MAX_S: Final = 1.0
"""How far behind the database's clock a reserve may be judged."""
ACCOUNTS_REMEMBERED_MAX: Final = 20_000
"""Beyond it the memory starts afresh."""


@dataclass(slots=True)
class _Known:
    """A balance as it was last written, by which transaction, and for an agent what its tools' last operations took."""

    account: Account
    written_by: int
    recent: dict[str, Recent] = field(default_factory=dict[str, Recent])


def monotonic_us() -> int:
    """A clock that never steps."""
    return time.monotonic_ns() // 1_000


class QuickReserves:
    """What one process remembers of the balances it wrote. For one task at a time."""

    def __init__(
        self,
        directory: Directory,
        calendar: Calendar,
        new_id: Callable[[int], UUID],
        *,
        subagents_max: int,
        elapsed_us: Callable[[], int] = monotonic_us,
    ) -> None:
        self._directory = directory
        self._calendar = calendar
        self._new_id = new_id
        self._subagents_max = subagents_max
        self._elapsed_us = elapsed_us
        self._accounts: dict[int, _Known] = {}
        self._clock_us = 0
        """The database's clock when :attr:`_elapsed_us` gave nought."""

    def learn(
        self, batch: Batch, found: Mapping[int, int], written_by: int, tools: Collection[tuple[int, str]]
    ) -> None:
        """Remember what a batch under lock committed.

        Args:
            batch: the batch, not used any more.
            found: every account it locked, with the number of the transaction that had last written it.
            written_by: the number of the batch's own.
            tools: of agents, whose last operations were read.
        """
        if len(self._accounts) > ACCOUNTS_REMEMBERED_MAX:
            self._accounts.clear()
        for account_id, account in batch.accounts.items():
            before = self._accounts.get(account_id)
            number = written_by if account.changed else found[account_id]
            # What was remembered of an agent's tools holds only where nobody else wrote in between.
            recent = before.recent if before is not None and before.written_by == found[account_id] else {}
            self._accounts[account_id] = _Known(account, number, recent)
        for agent, tool in {*tools, *batch.recent}:
            if agent in self._accounts:
                self._accounts[agent].recent[tool] = batch.recent.get((agent, tool)) or Recent()
        self._set_clock(batch.clock_us)

    def forget(self) -> None:
        """Remember nothing."""
        self._accounts.clear()

    async def attempt(self, connection: Connection, commands: Sequence[Command]) -> tuple[list[Answer], Batch] | None:
        """Do ``commands`` and commit them; None where they have to be done under lock, and nothing was done.

        Raises:
            asyncpg.PostgresError, OSError: as :meth:`hookbus.budget.transaction.LedgerTransaction.run`.
        """
        reserves = [command for command in commands if isinstance(command, Reserve)]
        if len(reserves) < len(commands):
            return None
        clock_us = self._clock_us + self._elapsed_us()
        batch = self._batch(reserves, clock_us)
        if batch is None:
            return None
        chains = [self._directory.chain(each.place) for each in reserves]
        answers: list[Answer] = [reserve(batch, each, chain) for each, chain in zip(reserves, chains, strict=True)]
        changed = [account for account in batch.accounts.values() if account.changed]
        keys = {each.dedupe_key for each in reserves if each.dedupe_key is not None}
        try:
            committed = await repository.reserve(
                connection,
                known={account: self._accounts[account].written_by for account in batch.accounts},
                clock_us=clock_us,
                behind_max_s=BEHIND_MAX_S,
                begun={
                    (chain.agent, each.operation_id)
                    for each, chain in zip(reserves, chains, strict=True)
                    if each.hold and each.operation_id is not None
                },
                changed=changed,
                opened=list(zip(batch.rows, batch.opened, strict=True)),
                # What is refused may be a repeat of what was granted, or of an operation that was settled before: it
                # is refused for good only where the ledger knows neither.
                refused=keys.difference(row.dedupe_key or "" for row in batch.rows),
            )
        except asyncpg.UniqueViolationError:
            committed = None
        except BaseException:
            self.forget()
            raise
        if committed is None:
            for account in batch.accounts:
                del self._accounts[account]
            return None
        for account in changed:
            known = self._accounts[account.config.id]
            known.account, known.written_by = account, committed.written_by
        self._set_clock(committed.clock_us)
        return answers, batch

    def _batch(self, reserves: Sequence[Reserve], clock_us: int) -> Batch | None:
        """A batch on copies of what is remembered; None where that is not all they need."""
        directory = self._directory
        if not all(directory.knows(each.place) for each in reserves):
            return None
        accounts: dict[int, Account] = {}
        recent: dict[tuple[int, str], Recent] = {}
        for each in reserves:
            chain = directory.chain(each.place)
            if not self._copy(chain.ids(), accounts):
                return None
            if each.tokens is None and each.usd_micros is None and each.tool is not None:
                known = self._accounts[chain.agent].recent.get(each.tool)
                if known is None:
                    return None
                recent[chain.agent, each.tool] = known
        self._copy((GLOBAL_ACCOUNT,), accounts)
        return Batch(
            calendar=self._calendar,
            clock_us=clock_us,
            accounts=accounts,
            new_id=self._new_id,
            subagents_max=self._subagents_max,
            recent=recent,
        )

    def _copy(self, ids: Iterable[int], accounts: dict[int, Account]) -> bool:
        """Add working copies of what is remembered; False where one is not, or was set otherwise since."""
        for account_id in ids:
            if account_id not in accounts:
                known = self._accounts.get(account_id)
                if known is None or self._directory.config(account_id) is not known.account.config:
                    return False
                accounts[account_id] = known.account.copy()
        return True

    def _set_clock(self, clock_us: int) -> None:
        self._clock_us = clock_us - self._elapsed_us()
