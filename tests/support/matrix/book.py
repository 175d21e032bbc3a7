"""What clients were told: the side of the truth that hookbus cannot make up."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

ANSWERS_GOOD = frozenset({200, 201, 202})
ANSWERS_LATER = frozenset({429, 503})
"""The contract's "come again", with ``Retry-After``. Anything else a client of this load is told is a fault."""


@dataclass(frozen=True)
class Decided:
    """The answer to a pre-task."""

    event_id: str
    agent: str
    decision: str
    code: str
    reservation: str | None


@dataclass(frozen=True)
class Settled:
    """The answer to a deduct."""

    key: str
    agent: str
    tokens: int


@dataclass(frozen=True)
class LetIn:
    """A credential that was accepted although its end had been confirmed ``age_s`` before it was shown."""

    what: str
    age_s: float


@dataclass
class Book:
    """One run's answers. ``tag`` is in every name the run made up, so that runs on one stack do not meet."""

    tag: str
    accepted: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """Events answered 202, as they were sent."""
    sequence: int = 0
    """The highest place on the bus that an event was told to have."""
    decided: dict[str, Decided] = field(default_factory=dict[str, Decided])
    settled: dict[str, Settled] = field(default_factory=dict[str, Settled])
    limits: dict[str, int] = field(default_factory=dict[str, int])
    """Agents that spend only what they reserved, and how many tokens they have in all."""
    sessions: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Session -> ids of its events, decided ones too."""
    revoked: int = 0
    """Keys, tokens and agents' sessions whose end was confirmed and that were shown again."""
    let_in: list[LetIn] = field(default_factory=list[LetIn])
    later: Counter[str] = field(default_factory=Counter[str])
    """Attempts that were told to come again, or told nothing, by why."""
    odd: list[str] = field(default_factory=list[str])
    """Answers that the contract does not know."""
    unanswered: list[str] = field(default_factory=list[str])
    """What was never answered, however often it was sent."""
    poison: dict[str, str] = field(default_factory=dict[str, str])
    """Place on the bus -> why nobody can process it: what was put there past the gateway."""
    deadletters_before: int = 0
    """The last dead letter on the bus when the run began."""
    answers: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Path -> when each good answer came, by the monotonic clock."""
    began: dict[str, float] = field(default_factory=dict[str, float])
    """Path -> when the newest request with a good answer was first sent."""

    def answered(self, path: str, sent_at_s: float) -> None:
        """A good answer came."""
        self.answers[path].append(time.monotonic())
        self.began[path] = max(self.began.get(path, 0.0), sent_at_s)

    def tokens_by_agent(self) -> Counter[str]:
        """An independent recount of what was spent."""
        spent: Counter[str] = Counter()
        for event in self.accepted.values():
            spent[event["agent_id"]] += event["data"].get("tokens_used", 0)
        for settled in self.settled.values():
            spent[settled.agent] += settled.tokens
        return spent

    def longest_outage_s(self, paths: Iterable[str]) -> float:
        """The longest time in which one of ``paths`` gave no good answer."""
        gaps = (pairwise(self.answers[path]) for path in paths)
        return max((later - earlier for pairs in gaps for earlier, later in pairs), default=0.0)
