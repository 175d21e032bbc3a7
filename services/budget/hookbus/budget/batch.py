"""One batch of the ledger: working copies of the accounts it touches, and everything it is about to write.

Pure. The caller has locked the accounts, gives the database's clock, and writes back in the same transaction what
:attr:`Batch.rows`, :attr:`Batch.opened`, :attr:`Batch.changed` and the changed accounts say.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from hookbus.budget import estimates
from hookbus.budget.accounts import Account, Chain, LimitState
from hookbus.budget.amounts import Amounts
from hookbus.budget.commands import Closed, Hold, HoldState, Outcome, Recorded, RequestRecord, Row
from hookbus.budget.warnings import Warned, crossings
from hookbus.budget.windows import US_PER_S, Calendar


@dataclass(slots=True)
class Recent:
    """What an agent's last operations of one tool took."""

    tokens: list[int] = field(default_factory=list[int])
    usd_micros: list[int] = field(default_factory=list[int])
    changed: bool = False


class Batch:
    """Each command gets a moment of its own, so that the rows of an account are strictly ordered."""

    def __init__(
        self,
        *,
        calendar: Calendar,
        clock_us: int,
        accounts: Mapping[int, Account],
        new_id: Callable[[int], UUID],
        subagents_max: int,
        holds: Iterable[Hold] = (),
        recorded: Mapping[str, Recorded] | None = None,
        recent: dict[tuple[int, str], Recent] | None = None,
        requests: dict[tuple[int, str], RequestRecord] | None = None,
    ) -> None:
        self.accounts = accounts
        self.rows: list[Row] = []
        self.opened: list[Hold] = []
        self.changed: dict[UUID, Hold] = {}
        self.recent = recent if recent is not None else {}
        self.requests = requests if requests is not None else {}
        self.requests_changed: set[tuple[int, str]] = set()
        self.warned: list[Warned] = []
        self.calendar = calendar
        self.clock_us = clock_us
        self.new_id = new_id
        self.subagents_max = subagents_max
        self.recorded = dict(recorded or {})
        self.holds: dict[UUID, Hold] = {}
        self.by_operation: defaultdict[tuple[int, str], list[Hold]] = defaultdict(list)
        # A clock that stepped back must not put a row before one that is already written.
        self._rolled: dict[Chain, tuple[list[Account], int]] = {}
        self._at_us = max([clock_us, *(account.last_at_us + 1 for account in accounts.values())])
        for hold in holds:
            self.know(hold)

    def tick(self) -> int:
        """The moment of the next command."""
        self._at_us += 1
        return self._at_us

    def expiry_us(self, ttl_s: int) -> int:
        """When the time of a hold is over that has ``ttl_s`` from now. By the clock alone, as it is swept: the moments
        of commands may be hours ahead of a clock that stepped back."""
        return self.clock_us + ttl_s * US_PER_S

    def is_over(self, hold: Hold) -> bool:
        """Whether a hold's time is over."""
        return hold.expires_at_us <= self.clock_us

    def rolled(self, chain: Chain, at_us: int) -> list[Account]:
        """The accounts of a chain from the leaf up, their windows open at ``at_us``. Not to be changed."""
        known = self._rolled.get(chain)
        if known is None or at_us >= known[1]:
            accounts = [self.accounts[account] for account in chain.ids()]
            for account in accounts:
                account.roll(self.calendar, at_us)
            known = self._rolled[chain] = accounts, min(account.rolled_until_us for account in accounts)
        return known[0]

    def _touch(self, chain: Chain, at_us: int) -> list[Account]:
        accounts = self.rolled(chain, at_us)
        if chain.subagent is not None and not self.accounts[chain.subagent].subagents:
            self.accounts[chain.subagent].subagents = 1
            if chain.session is not None:
                self.accounts[chain.session].subagents += 1
        for account in accounts:
            account.last_at_us = at_us
            account.changed = True
        return accounts

    def write(self, row: Row) -> None:
        """Record a row and move what it holds; what it spends was counted by :meth:`_spend`."""
        self.rows.append(row)
        tokens, usd_micros = row.held.tokens, row.held.usd_micros
        for account in self._touch(row.chain, row.at_us):
            account.held[0] += tokens
            account.held[1] += usd_micros
        if row.dedupe_key is not None:
            self.recorded[row.dedupe_key] = Recorded(row.chain.agent, row.fingerprint, row.spent, row.hold)

    def spend(self, chain: Chain, amounts: Amounts, at_us: int, effective_at_us: int) -> None:
        """Count what was spent in every account of a chain, and note the thresholds it crosses."""
        accounts = self.rolled(chain, at_us)
        counts = (amounts.tokens, amounts.usd_micros)
        for account in accounts:
            account.spend(counts, effective_at_us)
        session = self.accounts[chain.session] if chain.session is not None else None
        self.warned.extend(crossings(accounts, session, amounts, self.calendar, at_us))

    def learn(self, agent: int, tool: str, spent: Amounts) -> None:
        """Remember what an operation of a tool took, for the estimates of the next ones."""
        recent = self.recent.setdefault((agent, tool), Recent())
        recent.tokens = estimates.remember(recent.tokens, spent.tokens)
        recent.usd_micros = estimates.remember(recent.usd_micros, spent.usd_micros)
        recent.changed = True

    def know(self, hold: Hold) -> None:
        """Let later commands of the batch find a hold."""
        self.holds[hold.id] = hold
        if hold.operation_id is not None:
            self.by_operation[hold.chain.agent, hold.operation_id].append(hold)

    def oldest(self, agent: int, operation_id: str) -> Hold | None:
        """The oldest open hold of an operation, else its latest closed one."""
        holds = sorted(self.by_operation.get((agent, operation_id), ()), key=lambda hold: hold.created_at_us)
        for hold in holds:
            if hold.state is HoldState.OPEN:
                return hold
        return holds[-1] if holds else None

    def close(self, hold: Hold, state: HoldState) -> None:
        """End a hold; the row that says so moves what it held."""
        hold.state = state
        self.changed[hold.id] = hold

    def remaining(self, accounts: list[Account], session: Account | None, at_us: int) -> tuple[LimitState, ...]:
        """Every limit above an operation and how far it is used."""
        return tuple(state for account in accounts for state in account.states(self.calendar, at_us, session))

    def done(self, chain: Chain, at_us: int, amounts: Amounts, outcome: Outcome = Outcome.DONE) -> Closed:
        """The answer to a command that counted ``amounts`` in a chain."""
        accounts = self.rolled(chain, at_us)
        session = self.accounts[chain.session] if chain.session is not None else None
        return Closed(outcome, self.remaining(accounts, session, at_us), at_us, amounts)
