"""What a session does at this moment against what it did so far: events, new tokens, hosts at once."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

from hookbus.session.domain import pace, spread
from hookbus.session.domain.pace import Pace
from hookbus.session.domain.risk import Signal, SignalCode
from hookbus.session.domain.spread import Spread

EVENTS_PER_WINDOW_MIN: Final = 240
"""Four events a second for a minute: what a few subagents at work send."""
TOKENS_PER_WINDOW_MIN: Final = 200_000


@dataclass(frozen=True, slots=True)
class Bursts:
    """The paces of one session."""

    events: Pace = pace.NOTHING_COUNTED
    tokens: Pace = pace.NOTHING_COUNTED
    spread: Spread = spread.NOTHING_SEEN

    def seen(self, at: datetime, tokens: int, host: str | None) -> "Bursts":
        """The paces after one event."""
        return Bursts(self.events.counted(at, 1), self.tokens.counted(at, tokens), self.spread.seen(host, at))

    def stored(self) -> dict[str, Any]:
        """The paces as they are kept."""
        return {"events": self.events.stored(), "tokens": self.tokens.stored(), "spread": self.spread.stored()}

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """What :meth:`stored` gave."""
        return cls(Pace.read(stored.get("events")), Pace.read(stored.get("tokens")), Spread.read(stored.get("spread")))


CALM: Final = Bursts()


def signals(bursts: Bursts, at: datetime) -> tuple[Signal, ...]:
    """The evidence that the paces give after an event at ``at``."""
    found: list[Signal] = []
    for code, one, floor, unit in (
        (SignalCode.VELOCITY, bursts.events, EVENTS_PER_WINDOW_MIN, "events"),
        (SignalCode.BUDGET_BURN, bursts.tokens, TOKENS_PER_WINDOW_MIN, "new tokens"),
    ):
        over = one.over(floor)
        if over > 0:
            evidence = f"{one.count:.0f} {unit} in a minute, {one.mean:.0f} so far"
            words = f"The session does far more than it did: {evidence}."
            found.append(Signal(code, "", pace.weight(over), evidence, words, 1, at))
    at_once = bursts.spread.at_once
    if at_once > 1:
        evidence = f"hosts {', '.join(bursts.spread.returned)}"[:300]
        words = f"The session runs on {at_once} hosts at the same time: {evidence}."
        found.append(Signal(SignalCode.CONCURRENT_SPREAD, "", spread.weight(at_once), evidence, words, 1, at))
    return tuple(found)
