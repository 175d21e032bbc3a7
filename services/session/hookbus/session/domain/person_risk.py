"""Evidence against a person's session: what the gateway sees of their client, against the client they logged in with.

A change of network, an upgraded browser and both at once stay far below a question. A stolen token in another client
on another network is asked for the password, and with an impossible journey on top the session ends.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hookbus.contracts.networks import network_of
from hookbus.session.domain import pace, places, risk
from hookbus.session.domain.pace import Pace
from hookbus.session.domain.places import Place, Placed
from hookbus.session.domain.risk import EVIDENCE_CHARS_MAX, Signal, SignalCode

WEIGHT_ADDRESS_CHANGE: Final = 0.2
WEIGHT_NETWORK_CHANGE: Final = 1.5
WEIGHT_USER_AGENT_CHANGE: Final = 3.6
WEIGHT_HEADERS_SET_CHANGE: Final = 0.9
WEIGHT_HEADERS_ORDER_CHANGE: Final = 0.5
WEIGHT_IMPOSSIBLE_TRAVEL: Final = 2.4
WEIGHT_LOGIN_FAILURE_DOUBLING: Final = 0.6
WEIGHT_LOGIN_FAILURES_MAX: Final = 1.6
WEIGHT_TOKEN_REUSE: Final = 8.0
"""A replaced token that comes again is proof that somebody holds a copy."""
REFRESHES_PER_WINDOW_MIN: Final = 30
"""A client refreshes once an hour; below so many a minute it is a loop in a script and no burst."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A client as the gateway saw it. ``user_agent`` is the family, ``headers`` names of headers in their order."""

    address: str = ""
    user_agent: str = ""
    headers: tuple[str, ...] = ()
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known against one session. ``baseline`` is the client its password was last given in, empty where the
    next client is taken for it; ``confirm_since`` when its password was first asked for again."""

    sid: str
    username: str
    baseline: Facts
    last_seen_at: datetime
    placed: Placed | None = None
    refreshes: Pace = pace.NOTHING_COUNTED
    signals: tuple[Signal, ...] = ()
    risk: float = 0.0
    confirm_since: datetime | None = None


def weighed(
    known: Evidence, seen: Facts, at: datetime, *, refreshed: bool = False, more: tuple[Signal, ...] = ()
) -> Evidence:
    """The evidence after a client was seen. ``refreshed``: it rotated a token; ``more``: what else was found."""
    refreshes = known.refreshes.counted(at, 1) if refreshed else known.refreshes
    placed = None if seen.place is None else Placed(seen.place, at)
    baseline = known.baseline if known.baseline.address else seen
    found = (*changes(baseline, seen, at), *travel(known.placed, placed, at), *_burst(refreshes, at), *more)
    # Nobody vouches for another client for good: what was cleared stands again where it is seen again.
    names = {(signal.code, signal.key) for signal in found}
    kept = (s for s in risk.aged(known.signals, at) if s.cleared_at is None or (s.code, s.key) not in names)
    signals = risk.merge(kept, found)
    return replace(
        known,
        baseline=baseline,
        last_seen_at=max(known.last_seen_at, at),
        placed=placed or known.placed,
        refreshes=refreshes,
        signals=signals,
        risk=risk.score(signals),
    )


def vouched(known: Evidence, client: Facts | None, at: datetime) -> Evidence:
    """The evidence after the person gave their password again in ``client``, which is the one to compare with from now
    on. None: an administrator vouched for whichever client comes next."""
    signals = risk.cleared(known.signals, at)
    baseline = client if client is not None else Facts()
    return replace(
        known,
        baseline=baseline,
        last_seen_at=max(known.last_seen_at, at),
        signals=signals,
        risk=risk.score(signals),
        confirm_since=None,
    )


def changes(baseline: Facts, seen: Facts, at: datetime) -> tuple[Signal, ...]:
    """What differs from the login. What either does not know is no evidence."""
    found: list[Signal] = []
    if baseline.address and seen.address and baseline.address != seen.address:
        before, after = network_of(baseline.address), network_of(seen.address)
        evidence = f"{baseline.address} became {seen.address}"
        if before != after:
            words = "The session came from another network"
            found.append(
                _signal(SignalCode.NETWORK_CHANGE, after or seen.address, WEIGHT_NETWORK_CHANGE, evidence, words, at)
            )
        else:
            words = "The session came from another address of its network"
            found.append(_signal(SignalCode.ADDRESS_CHANGE, seen.address, WEIGHT_ADDRESS_CHANGE, evidence, words, at))
    if baseline.user_agent and seen.user_agent and baseline.user_agent != seen.user_agent:
        evidence = f"{baseline.user_agent} became {seen.user_agent}"
        words = "The session went on in another client"
        found.append(
            _signal(SignalCode.USER_AGENT_CHANGE, seen.user_agent, WEIGHT_USER_AGENT_CHANGE, evidence, words, at)
        )
    if baseline.headers and seen.headers and baseline.headers != seen.headers:
        found.append(_headers(baseline.headers, seen.headers, at))
    return tuple(found)


def travel(before: Placed | None, after: Placed | None, at: datetime) -> tuple[Signal, ...]:
    """A journey that nobody can have made."""
    if before is None or after is None:
        return ()
    journey = places.impossible_travel(before, after)
    if journey is None:
        return ()
    words = "Nobody travels so fast"
    return (_signal(SignalCode.IMPOSSIBLE_TRAVEL, after.place.name, WEIGHT_IMPOSSIBLE_TRAVEL, journey, words, at),)


def login_failures(failures: int, at: datetime) -> tuple[Signal, ...]:
    """Failed attempts under the name right before a login."""
    if failures <= 0:
        return ()
    weight = min(WEIGHT_LOGIN_FAILURES_MAX, WEIGHT_LOGIN_FAILURE_DOUBLING * math.log2(1 + failures))
    evidence = f"{failures} in a row"
    words = "Attempts under this name failed before the login"
    return (_signal(SignalCode.LOGIN_FAILURES, "", weight, evidence, words, at),)


def token_reuse(at: datetime) -> Signal:
    """A refresh token that was replaced came again."""
    evidence = "a replaced refresh token"
    return _signal(SignalCode.TOKEN_REUSE, "", WEIGHT_TOKEN_REUSE, evidence, "A copy of a token is in use", at)


def _headers(before: tuple[str, ...], after: tuple[str, ...], at: datetime) -> Signal:
    gone, new = set(before) - set(after), set(after) - set(before)
    if gone or new:
        evidence = f"without {', '.join(sorted(gone)) or 'none'}, with {', '.join(sorted(new)) or 'none'} of them new"
        words, weight = "The client sends other headers", WEIGHT_HEADERS_SET_CHANGE
    else:
        evidence = f"{', '.join(after)}"
        words, weight = "The client sends its headers in another order", WEIGHT_HEADERS_ORDER_CHANGE
    return _signal(SignalCode.HEADERS_CHANGE, ",".join(after), weight, evidence, words, at)


def _burst(refreshes: Pace, at: datetime) -> tuple[Signal, ...]:
    over = refreshes.over(REFRESHES_PER_WINDOW_MIN)
    if over <= 0:
        return ()
    evidence = f"{refreshes.count:.0f} refreshes in a minute, {refreshes.mean:.0f} so far"
    return (_signal(SignalCode.VELOCITY, "", pace.weight(over), evidence, "The client refreshes far too often", at),)


def _signal(  # noqa: PLR0917 - a row of a table of evidence
    code: SignalCode, key: str, weight: float, evidence: str, words: str, at: datetime
) -> Signal:
    evidence = risk.printable(evidence)[:EVIDENCE_CHARS_MAX]
    return Signal(code, risk.printable(key)[:EVIDENCE_CHARS_MAX], weight, evidence, f"{words}: {evidence}.", 1, at)
