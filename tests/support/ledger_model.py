"""An independent model of the budget: a list of facts, counted anew for each question. It shares no code with the
service."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta


@dataclass
class Spending:
    at: datetime
    chain: frozenset[str]
    tokens: int
    micros: int


@dataclass
class Reservation:
    chain: frozenset[str]
    agent: str
    tokens: int
    micros: int
    expires: datetime
    operation: str | None
    open: bool = True


@dataclass
class Model:
    now: datetime
    spendings: list[Spending] = field(default_factory=list)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    limits: dict[str, dict[tuple[str, str], int]] = field(default_factory=dict)
    resets: dict[tuple[str, str, str], int] = field(default_factory=dict)
    requests: dict[tuple[str, str], tuple[int, Spending]] = field(default_factory=dict)
    early: dict[tuple[str, str], datetime] = field(default_factory=dict)
    seen_operations: set[tuple[str, str]] = field(default_factory=set)
    started: dict[str, set[str]] = field(default_factory=dict)
    subagents_max: int = 10**9

    def window_start(self, window: str) -> datetime:
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        return {
            "hour": self.now.replace(minute=0, second=0, microsecond=0),
            "day": midnight,
            "week": midnight - timedelta(days=midnight.isoweekday() - 1),
            "month": midnight.replace(day=1),
            "total": datetime.min.replace(tzinfo=self.now.tzinfo),
        }[window]

    def spent(self, account: str, unit: str, window: str) -> int:
        since_fact = self.resets.get((account, unit, window), 0)
        start = self.window_start(window)
        return sum(
            fact.tokens if unit == "tokens" else fact.micros
            for fact in self.spendings[since_fact:]
            if account in fact.chain and fact.at >= start
        )

    def held(self, account: str, unit: str) -> int:
        return sum(
            each.tokens if unit == "tokens" else each.micros
            for each in self.reservations.values()
            if each.open and account in each.chain
        )

    def refusal(self, chain: frozenset[str], tokens: int, micros: int) -> str | None:
        """The account and limit that the operation does not fit, or None."""
        for session, subagent in self.sessions_of_subagents(chain):
            started = self.started.get(session, set())
            if subagent not in started and len(started) >= self.subagents_max:
                return f"{session} subagents"
        asked = {"tokens": tokens, "usd": micros}
        for account in chain:
            for (unit, window), amount in self.limits.get(account, {}).items():
                if window == "operation":
                    fits = asked[unit] <= amount
                elif window == "session":
                    bounded = [account] if account.startswith("subagent ") else self.sessions(chain)
                    fits = all(
                        self.spent(each, unit, "total") + self.held(each, unit) + asked[unit] <= amount
                        for each in bounded
                    )
                else:
                    fits = self.spent(account, unit, window) + self.held(account, unit) + asked[unit] <= amount
                if not fits:
                    return f"{account} {unit} {window}"
        return None

    @staticmethod
    def sessions(chain: frozenset[str]) -> list[str]:
        return [each for each in chain if each.startswith("session ")]

    def sessions_of_subagents(self, chain: frozenset[str]) -> list[tuple[str, str]]:
        subagents = [each for each in chain if each.startswith("subagent ")]
        return [(session, subagent) for session in self.sessions(chain) for subagent in subagents]

    def start(self, chain: frozenset[str]) -> None:
        """A row was written in ``chain``: its subagent has been started."""
        for session, subagent in self.sessions_of_subagents(chain):
            self.started.setdefault(session, set()).add(subagent)

    def limit(self, account: str, limits: dict[tuple[str, str], int | None], *, replace: bool) -> None:
        """What is named is set, None takes away, the rest stays unless ``replace``."""
        before = {} if replace else self.limits.get(account, {})
        after = before | limits
        self.limits[account] = {name: amount for name, amount in after.items() if amount is not None}

    def spend(self, chain: frozenset[str], tokens: int, micros: int) -> Spending:
        self.start(chain)
        fact = Spending(self.now, chain, tokens, micros)
        self.spendings.append(fact)
        return fact

    def oldest_open(self, agent: str, operation: str) -> Reservation | None:
        for each in self.reservations.values():
            if each.open and (each.agent, each.operation) == (agent, operation):
                return each
        return None

    def expire(self) -> None:
        for each in self.reservations.values():
            if each.open and each.expires <= self.now:
                each.open = False

    def reset(self, account: str, unit: str | None, window: str | None) -> None:
        for each_unit in ("tokens", "usd"):
            for each_window in ("hour", "day", "week", "month", "total"):
                if unit in (None, each_unit) and window in (None, each_window):
                    self.resets[account, each_unit, each_window] = len(self.spendings)
