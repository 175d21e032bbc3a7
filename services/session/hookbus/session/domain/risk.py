"""Evidence against a session and the score it makes.

The score is the logistic function of a bias plus the weights of all standing evidence. Two properties are chosen on
purpose and held by tests: with no evidence the score is about 0.01, and everything an honest session may show at once
(another host, another user, a new agent version: a session resumed in a container after an upgrade) stays under the
deny threshold.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from hookbus.contracts.decisions import DecisionCode
from hookbus.contracts.payloads import Fingerprint
from hookbus.contracts.session import SignalView

BIAS: Final = -4.6
WEIGHT_HOST_CHANGE: Final = 2.7
WEIGHT_USER_CHANGE: Final = 2.9
WEIGHT_AGENT_VERSION_CHANGE: Final = 0.5
WEIGHT_REFUSED_INPUT_DOUBLING: Final = 0.8
"""Added each time the number of refused inputs doubles: a few mistakes are honest, dozens are a search for a hole."""
WEIGHT_REFUSED_INPUTS_MAX: Final = 6.0

FLAG_RISK: Final = 0.5
ASK_RISK: Final = 0.7
DENY_RISK: Final = 0.9

EVIDENCE_CHARS_MAX: Final = 300
SIGNALS_PER_SESSION_MAX: Final = 64
"""A session that changes its host more often than this keeps its first evidence; the score is long past any limit."""

REFUSED_INPUT_CODES: Final = frozenset(
    {DecisionCode.PATH_OUTSIDE_WORKSPACE, DecisionCode.COMMAND_REFUSED, DecisionCode.INPUT_REFUSED}
)


class SignalCode(StrEnum):
    """What can count against a session."""

    HOST_CHANGE = "host_change"
    USER_CHANGE = "user_change"
    AGENT_VERSION_CHANGE = "agent_version_change"
    REFUSED_INPUTS = "refused_inputs"


@dataclass(frozen=True, slots=True)
class Baseline:
    """Where a session first ran, field by field as it became known."""

    host: str | None = None
    user: str | None = None
    agent_version: str | None = None

    def filled_from(self, seen: "Baseline") -> "Baseline":
        """The same baseline, with what it does not know yet taken from ``seen``."""
        return Baseline(self.host or seen.host, self.user or seen.user, self.agent_version or seen.agent_version)

    def view(self) -> Fingerprint:
        """The baseline as it travels."""
        return Fingerprint(host=self.host, user=self.user, agent_version=self.agent_version)


NOTHING_KNOWN: Final = Baseline()


def baseline_of(fingerprint: Fingerprint | None) -> Baseline:
    """A fingerprint as hooks send it, fit for storing: no control characters, which PostgreSQL and terminals refuse."""
    if fingerprint is None:
        return Baseline()
    return Baseline(
        printable(fingerprint.host or "") or None,
        printable(fingerprint.user or "") or None,
        printable(fingerprint.agent_version or "") or None,
    )


def printable(text: str) -> str:
    """``text`` with each control character made visible as the replacement character."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


@dataclass(frozen=True, slots=True)
class Signal:
    """One piece of evidence. ``code`` and ``key`` name it within its session: seen again, it is the same evidence."""

    code: SignalCode
    key: str
    weight: float
    evidence: str
    words: str
    occurrences: int
    seen_at: datetime
    cleared_at: datetime | None = None

    def view(self) -> SignalView:
        """The signal as it travels."""
        return SignalView(
            code=self.code,
            weight=round(self.weight, 3),
            evidence=self.evidence,
            words=self.words,
            occurrences=self.occurrences,
            seen_at=self.seen_at,
            cleared_at=self.cleared_at,
        )


_CHANGES: Final = (
    (SignalCode.HOST_CHANGE, WEIGHT_HOST_CHANGE, "host", "The session moved to another host"),
    (SignalCode.USER_CHANGE, WEIGHT_USER_CHANGE, "user", "The session went on as another user"),
    (SignalCode.AGENT_VERSION_CHANGE, WEIGHT_AGENT_VERSION_CHANGE, "agent_version", "The agent's version changed"),
)


def changes(baseline: Baseline, seen: Baseline, at: datetime) -> tuple[Signal, ...]:
    """The evidence in a fingerprint that differs from the baseline. What either does not know is no evidence."""
    found: list[Signal] = []
    for code, weight, field, words in _CHANGES:
        before: str | None = getattr(baseline, field)
        after: str | None = getattr(seen, field)
        if before is None or after is None or before == after:
            continue
        evidence = f"{field} {before} became {after}"[:EVIDENCE_CHARS_MAX]
        found.append(Signal(code, after, weight, evidence, f"{words}: {evidence}.", 1, at))
    return tuple(found)


def refused_inputs_weight(occurrences: int) -> float:
    """Grows with the logarithm of the count, up to a ceiling: 1 -> 0.8, 3 -> 1.6, 15 -> 3.2, 255 and more -> 6."""
    return min(WEIGHT_REFUSED_INPUTS_MAX, WEIGHT_REFUSED_INPUT_DOUBLING * math.log2(1 + occurrences))


def refused_input(code: str, at: datetime) -> Signal:
    """One refused input, to be merged into the session's count."""
    return _refused(1, code, at)


def _refused(occurrences: int, code: str, at: datetime) -> Signal:
    noun = "input was" if occurrences == 1 else "inputs were"
    words = f"{occurrences} {noun} refused by the guard, the last for {code}."
    return Signal(SignalCode.REFUSED_INPUTS, "", refused_inputs_weight(occurrences), code, words, occurrences, at)


def merge(known: Iterable[Signal], found: Iterable[Signal]) -> tuple[Signal, ...]:
    """Evidence with new findings added.

    A change seen again changes nothing, also after a person cleared it: they vouched for that very host or user.
    Refused inputs add up; cleared ones start again from one.
    """
    by_name = {(signal.code, signal.key): signal for signal in known}
    for signal in found:
        name = (signal.code, signal.key)
        before = by_name.get(name)
        if before is None:
            if len(by_name) < SIGNALS_PER_SESSION_MAX:
                by_name[name] = signal
        elif signal.code is SignalCode.REFUSED_INPUTS:
            standing = 0 if before.cleared_at is not None else before.occurrences
            by_name[name] = _refused(
                standing + signal.occurrences, signal.evidence, max(before.seen_at, signal.seen_at)
            )
    return tuple(by_name.values())


def cleared(signals: Iterable[Signal], at: datetime) -> tuple[Signal, ...]:
    """The same evidence, none of it standing."""
    return tuple(signal if signal.cleared_at else replace(signal, cleared_at=at) for signal in signals)


def standing(signals: Iterable[Signal]) -> tuple[Signal, ...]:
    """The evidence that counts, heaviest first."""
    return tuple(sorted((s for s in signals if s.cleared_at is None), key=lambda s: (-s.weight, s.code, s.key)))


def score(signals: Iterable[Signal]) -> float:
    """The risk in 0..1 that the standing evidence makes.

    Repeats of one kind of change do not add up: a laptop that is renamed by each network it joins is one oddity.
    """
    heaviest: dict[SignalCode, float] = {}
    for signal in standing(signals):
        heaviest[signal.code] = max(heaviest.get(signal.code, 0.0), signal.weight)
    return 1.0 / (1.0 + math.exp(-(BIAS + sum(heaviest.values()))))


def in_words(signals: Iterable[Signal]) -> str:
    """The standing evidence as one line for a person."""
    return " ".join(signal.words for signal in standing(signals)) or "Nothing stands against this session."
