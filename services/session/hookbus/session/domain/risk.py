"""Evidence against a session and the score it makes.

The score is the logistic function of a bias plus the weights of all standing evidence. Two properties are chosen on
purpose and held by tests: with no evidence the score is about 0.01, and everything an honest session may show at once
(another host, another user, another network, a new agent version: a session resumed in a container after an upgrade)
stays under the kill threshold.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from hookbus.contracts.decisions import DecisionCode
from hookbus.contracts.payloads import Fingerprint
from hookbus.contracts.session import SignalView

BIAS: Final = -4.6
WEIGHT_HOST_CHANGE: Final = 2.7
WEIGHT_USER_CHANGE: Final = 2.9
WEIGHT_AGENT_VERSION_CHANGE: Final = 0.5
WEIGHT_NETWORK_CHANGE: Final = 0.3
"""Of an agent: a laptop changes its network every day, and a spool is delivered from wherever it wakes up."""
WEIGHT_REFUSED_INPUT_DOUBLING: Final = 0.8
"""Added each time the number of refused inputs doubles: a few mistakes are honest, dozens are a search for a hole."""
WEIGHT_REFUSED_INPUTS_MAX: Final = 6.0
WEIGHT_INPUT_TAGGED: Final = 0.1
"""Text in the form of an injection: whoever writes tests against injection sends it all day."""

FLAG_RISK: Final = 0.5
ASK_RISK: Final = 0.7
KILL_RISK: Final = 0.9
TIGHTEN_RISK: Final = 0.5
BUDGET_FACTOR: Final = 0.5
RATE_EVIDENCE_AGE_MAX_S: Final = 3_600.0
"""How long a burst counts after it was last seen: unlike a stranger's host it says nothing about the next hour."""
RATE_EVIDENCE_RENEWED_S: Final = 60.0
"""A burst that goes on is noted again this often."""

EVIDENCE_CHARS_MAX: Final = 300
SIGNALS_PER_CODE_MAX: Final = 16
"""Pieces of evidence of one kind that a session keeps, the first ones. More of a kind would not raise the score, and
must not keep evidence of another kind out."""

REFUSED_INPUT_CODES: Final = frozenset(
    {DecisionCode.PATH_OUTSIDE_WORKSPACE, DecisionCode.COMMAND_REFUSED, DecisionCode.INPUT_REFUSED}
)


class SignalCode(StrEnum):
    """What can count against a session."""

    HOST_CHANGE = "host_change"
    USER_CHANGE = "user_change"
    AGENT_VERSION_CHANGE = "agent_version_change"
    NETWORK_CHANGE = "network_change"
    REFUSED_INPUTS = "refused_inputs"
    INPUT_TAGGED = "input_tagged"
    CONCURRENT_SPREAD = "concurrent_spread"
    VELOCITY = "velocity"
    BUDGET_BURN = "budget_burn"
    ADDRESS_CHANGE = "address_change"
    USER_AGENT_CHANGE = "user_agent_change"
    HEADERS_CHANGE = "headers_change"
    IMPOSSIBLE_TRAVEL = "impossible_travel"
    LOGIN_FAILURES = "login_failures"
    TOKEN_REUSE = "token_reuse"  # noqa: S105 - a code


RATE_CODES: Final = frozenset({SignalCode.VELOCITY, SignalCode.BUDGET_BURN, SignalCode.CONCURRENT_SPREAD})
"""Evidence of how fast things go: it grows while they do, and is forgotten with age."""


class Level(StrEnum):
    """What a risk asks for."""

    NONE = "none"
    FLAG = "flag"
    ASK = "ask"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which risk on what is done. ``budget_factor`` is what stays of an agent's limits from ``tighten`` on."""

    flag: float = FLAG_RISK
    ask: float = ASK_RISK
    kill: float = KILL_RISK
    tighten: float = TIGHTEN_RISK
    budget_factor: float = BUDGET_FACTOR

    def level(self, risk: float) -> Level:
        """What ``risk`` asks for."""
        if risk >= self.kill:
            return Level.KILL
        if risk >= self.ask:
            return Level.ASK
        return Level.FLAG if risk >= self.flag else Level.NONE

    def budget_share(self, risk: float) -> float:
        """The share of its limits that an agent has at ``risk``."""
        return self.budget_factor if risk >= self.tighten else 1.0


DEFAULT_THRESHOLDS: Final = Thresholds()


@dataclass(frozen=True, slots=True)
class Baseline:
    """Where a session first ran, field by field as it became known."""

    host: str | None = None
    user: str | None = None
    agent_version: str | None = None
    network: str | None = None

    def filled_from(self, seen: "Baseline") -> "Baseline":
        """The same baseline, with what it does not know yet taken from ``seen``."""
        return Baseline(
            self.host or seen.host,
            self.user or seen.user,
            self.agent_version or seen.agent_version,
            self.network or seen.network,
        )

    def view(self) -> Fingerprint:
        """The baseline as it travels."""
        return Fingerprint(host=self.host, user=self.user, agent_version=self.agent_version, network=self.network)


NOTHING_KNOWN: Final = Baseline()


def baseline_of(fingerprint: Fingerprint | None, network: str | None) -> Baseline:
    """A fingerprint as hooks send it, fit for storing: no control characters, which PostgreSQL and terminals refuse.
    ``network`` is where the gateway saw it come from; what a hook says of that itself does not count."""
    if fingerprint is None:
        return Baseline(network=network)
    return Baseline(
        printable(fingerprint.host or "") or None,
        printable(fingerprint.user or "") or None,
        printable(fingerprint.agent_version or "") or None,
        network,
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

    def view(self, contribution: float = 0.0) -> SignalView:
        """The signal as it travels; ``contribution`` is its part of the risk."""
        return SignalView(
            code=self.code,
            weight=round(self.weight, 3),
            contribution=round(contribution, 4),
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
    (SignalCode.NETWORK_CHANGE, WEIGHT_NETWORK_CHANGE, "network", "The session came from another network"),
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


def tagged_input(tags: str | None, at: datetime) -> tuple[Signal, ...]:
    """The evidence in a pre-task's ``inputtags``: each kind counts once for a session, however often it is seen."""
    return tuple(
        Signal(
            SignalCode.INPUT_TAGGED, tag, WEIGHT_INPUT_TAGGED, tag, f"An input shows signs of injection ({tag}).", 1, at
        )
        for tag in (tags.split(",") if tags else ())
    )


def _refused(occurrences: int, code: str, at: datetime) -> Signal:
    noun = "input was" if occurrences == 1 else "inputs were"
    words = f"{occurrences} {noun} refused by the guard, the last for {code}."
    return Signal(SignalCode.REFUSED_INPUTS, "", refused_inputs_weight(occurrences), code, words, occurrences, at)


def merge(known: Iterable[Signal], found: Iterable[Signal]) -> tuple[Signal, ...]:
    """Evidence with new findings added.

    A change seen again changes nothing, also after a person cleared it: they vouched for that very host or user.
    Refused inputs add up; cleared ones start again from one. A burst is as heavy as it was at its worst, and one that
    comes after it was cleared is a new one.
    """
    by_name = {(signal.code, signal.key): signal for signal in known}
    for signal in found:
        name = (signal.code, signal.key)
        before = by_name.get(name)
        if before is None:
            if sum(1 for code, _ in by_name if code is signal.code) < SIGNALS_PER_CODE_MAX:
                by_name[name] = signal
        elif signal.code is SignalCode.REFUSED_INPUTS:
            standing = 0 if before.cleared_at is not None else before.occurrences
            by_name[name] = _refused(
                standing + signal.occurrences, signal.evidence, max(before.seen_at, signal.seen_at)
            )
        elif signal.code in RATE_CODES:
            by_name[name] = _renewed(before, signal)
    return tuple(by_name.values())


def _renewed(before: Signal, signal: Signal) -> Signal:
    if before.cleared_at is not None:
        return signal if signal.seen_at > before.cleared_at else before
    if signal.weight > before.weight:
        return replace(signal, occurrences=before.occurrences + 1, seen_at=max(before.seen_at, signal.seen_at))
    if (signal.seen_at - before.seen_at).total_seconds() >= RATE_EVIDENCE_RENEWED_S:
        return replace(before, seen_at=signal.seen_at)
    return before


def aged(signals: Iterable[Signal], at: datetime) -> tuple[Signal, ...]:
    """The same evidence, bursts of long ago no longer standing."""
    oldest = at - timedelta(seconds=RATE_EVIDENCE_AGE_MAX_S)
    return tuple(
        replace(signal, cleared_at=at)
        if signal.code in RATE_CODES and signal.cleared_at is None and signal.seen_at < oldest
        else signal
        for signal in signals
    )


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
    return _logistic(sum(weights[0] for weights in _weights(signals).values()))


def contributions(signals: Iterable[Signal]) -> dict[tuple[SignalCode, str], float]:
    """What the risk would fall by without each piece of standing evidence, by code and key."""
    known = standing(signals)
    weights = _weights(known)
    total = sum(of_code[0] for of_code in weights.values())
    risk = _logistic(total)
    parts: dict[tuple[SignalCode, str], float] = {}
    counted: set[SignalCode] = set()
    for signal in known:
        # The heaviest of a kind comes first; without it the next one would count.
        rest = [*weights[signal.code][1:], 0.0][0] if signal.code not in counted else signal.weight
        parts[signal.code, signal.key] = risk - _logistic(total - signal.weight + rest)
        counted.add(signal.code)
    return parts


def _weights(signals: Iterable[Signal]) -> dict[SignalCode, list[float]]:
    """The weights of the standing evidence of each kind, heaviest first."""
    weights: dict[SignalCode, list[float]] = {}
    for signal in standing(signals):
        weights.setdefault(signal.code, []).append(signal.weight)
    return weights


def _logistic(total: float) -> float:
    return 1.0 / (1.0 + math.exp(-(BIAS + total)))


def explained(signals: Iterable[Signal]) -> tuple[SignalView, ...]:
    """Every piece of evidence as it travels, what stands first, heaviest first."""
    known = tuple(signals)
    parts = contributions(known)
    ordered = sorted(known, key=lambda s: (s.cleared_at is not None, -s.weight, s.code, s.key))
    return tuple(signal.view(parts.get((signal.code, signal.key), 0.0)) for signal in ordered)


def moved(before: Iterable[Signal], after: Iterable[Signal]) -> bool:
    """Whether the evidence that stands is another than before."""
    return _standing_names(before) != _standing_names(after)


def _standing_names(signals: Iterable[Signal]) -> set[tuple[str, str, float, int]]:
    return {(signal.code, signal.key, signal.weight, signal.occurrences) for signal in standing(signals)}


def in_words(signals: Iterable[Signal]) -> str:
    """The standing evidence as one line for a person."""
    return " ".join(signal.words for signal in standing(signals)) or "Nothing stands against this session."
