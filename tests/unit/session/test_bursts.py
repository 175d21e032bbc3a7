"""Bursts: what a session does against its own past, and what a honest one may do without being killed."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.session.domain import burst, pace, risk, sessions, spread
from hookbus.session.domain.burst import CALM, EVENTS_PER_WINDOW_MIN, TOKENS_PER_WINDOW_MIN, Bursts
from hookbus.session.domain.pace import Pace
from hookbus.session.domain.risk import Baseline, SignalCode
from hookbus.session.domain.sessions import Observation, Session
from hookbus.session.domain.spread import Spread

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
HOME = Baseline("laptop", "ann", "2.1.0", "192.0.2.0/24")


def minute(number: float) -> datetime:
    return NOW + timedelta(minutes=number)


def busy(*counts: int) -> Pace:
    """A pace after so many in each minute."""
    counted = Pace()
    for number, count in enumerate(counts):
        counted = counted.counted(minute(number), count)
    return counted


def after(session: Session | None, *observations: Observation) -> Session:
    current = session or sessions.opened(observations[0])
    for seen in observations:
        current = sessions.observed(current, seen)
    return current


def seen(at: datetime, baseline: Baseline = HOME, tokens: int = 0) -> Observation:
    return Observation("s", "agent", at, seen=baseline, tokens=tokens)


def test_without_a_past_nothing_is_a_burst() -> None:
    assert busy(1, 1, 1, 1, 1_000_000).over(10) == 0.0


def test_a_burst_is_beyond_the_own_mean_and_beyond_the_floor() -> None:
    past = (10, 10, 10, 10, 10)
    assert busy(*past, 80).over(0) == 0.0
    assert busy(*past, 161).over(0) > 2
    assert busy(*past, 161).over(200) == 0.0, "small numbers multiply easily"
    assert busy(1_000, 1_000, 1_000, 1_000, 1_000, 1_500).over(200) == 0.0, "its own past is as busy"


def test_pauses_are_not_slow_work_and_the_past_does_not_burst() -> None:
    worked = Pace()
    for number in range(6):
        worked = worked.counted(minute(number * 60), 100)
    assert worked.mean == 100
    replayed = worked
    for number in range(5):
        for _ in range(1_000):
            replayed = replayed.counted(minute(number), 1)
    assert replayed == worked


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 10**9)), max_size=60))
def test_no_pace_alone_is_flagged(steps: list[tuple[int, int]]) -> None:
    """Whatever an agent does on its own host, its rates alone only add to other evidence."""
    session = after(None, seen(NOW))
    for at, tokens in steps:
        session = after(session, seen(minute(at), tokens=tokens))
    assert session.risk < risk.FLAG_RISK


def test_paces_and_spread_survive_storage() -> None:
    bursts = CALM
    for number in range(8):
        bursts = bursts.seen(minute(number), number * 10, ("a", "b")[number % 2])
    assert Bursts.read(bursts.stored()) == bursts
    assert Bursts.read({}) == CALM


def test_events_and_tokens_that_burst_are_evidence_in_words() -> None:
    bursts = Bursts(busy(5, 5, 5, 5, 5, EVENTS_PER_WINDOW_MIN * 3), busy(5, 5, 5, 5, 5, TOKENS_PER_WINDOW_MIN * 3))
    found = {signal.code: signal for signal in burst.signals(bursts, NOW)}
    assert set(found) == {SignalCode.VELOCITY, SignalCode.BUDGET_BURN}
    assert found[SignalCode.BUDGET_BURN].weight == pace.WEIGHT_MAX
    assert "600000 new tokens in a minute, 5 so far" in found[SignalCode.BUDGET_BURN].words


def test_a_burst_that_grows_changes_the_evidence_by_steps() -> None:
    """From just beyond a burst to its worst each event adds to it, and seven times it is other evidence at most."""
    session = after(None, *(seen(minute(number)) for number in range(6)))
    changes = 0
    for _ in range(EVENTS_PER_WINDOW_MIN * 8):
        before, session = session, after(session, seen(minute(7)))
        changes += risk.moved(before.signals, session.signals)
    assert 2 <= changes <= 7
    (signal,) = risk.standing(session.signals)
    assert signal.weight == pace.WEIGHT_MAX


def test_a_session_on_two_hosts_at_once_is_seen_and_one_that_moves_is_not() -> None:
    moves = Spread()
    for number, host in enumerate(("a", "b", "c", "d")):
        moves = moves.seen(host, minute(number))
    assert moves.at_once == 0
    copied = Spread()
    for number, host in enumerate(("a", "b", "a", "b", "c", "a")):
        copied = copied.seen(host, minute(number / 2))
    assert copied.at_once == 3
    later = copied.seen("a", minute(60))
    assert later.at_once == 0, "nobody else was there for an hour"
    returned = Spread().seen("a", minute(0)).seen("b", minute(1)).seen("a", minute(30))
    assert returned.at_once == 0, "it moved back"


def test_a_burst_is_forgotten_with_age_and_a_new_one_counts_again() -> None:
    session = after(None, *(seen(minute(number)) for number in range(6)))
    session = after(session, *(seen(minute(7)) for _ in range(EVENTS_PER_WINDOW_MIN * 8)))
    (signal,) = risk.standing(session.signals)
    assert signal.code is SignalCode.VELOCITY
    at_its_worst = session.risk
    session = after(session, seen(minute(30)))
    assert session.risk == at_its_worst
    session = after(session, seen(minute(90)))
    assert risk.standing(session.signals) == ()
    assert session.risk == risk.score(())
    assert sessions.assessed(session, HOME, minute(91)).risk < 0.02


@pytest.mark.parametrize("hosts", [("laptop-wifi2",), ("laptop-wifi2", "laptop", "laptop-wifi2")])
def test_a_new_network_an_upgrade_and_a_burst_at_once_never_kill(hosts: tuple[str, ...]) -> None:
    """A laptop that its network renames, to and fro, upgraded, with an agent that suddenly does its worst."""
    session = after(None, *(seen(minute(number), tokens=1) for number in range(6)))
    for number, host in enumerate(hosts):
        elsewhere = Baseline(host, "ann", "2.2.0", "198.51.100.0/24")
        session = after(session, seen(minute(7 + number), elsewhere))
    session = after(session, *(seen(minute(10), tokens=10**6) for _ in range(EVENTS_PER_WINDOW_MIN * 8)))
    assert {SignalCode.VELOCITY, SignalCode.BUDGET_BURN} <= {signal.code for signal in session.signals}
    assert session.risk < risk.KILL_RISK


def test_a_session_resumed_in_a_container_elsewhere_while_the_laptop_goes_on_never_kills() -> None:
    session = after(None, seen(minute(0)))
    container = Baseline("3f9ac1", "root", "2.2.0", "198.51.100.0/24")
    for number in range(1, 9):
        session = after(session, seen(minute(number), container if number % 2 else HOME))
    assert SignalCode.CONCURRENT_SPREAD in {signal.code for signal in session.signals}
    assert risk.ASK_RISK <= session.risk < risk.KILL_RISK


def test_a_build_farm_behind_one_address_shows_nothing() -> None:
    """Each job has its session; their common network is the baseline of each."""
    for job in range(20):
        farm = Baseline(f"runner-{job}", "runner", "2.1.0", "203.0.113.0/24")
        session = after(None, *(seen(minute(number), farm, tokens=5_000) for number in range(30)))
        assert session.risk == risk.score(())


def test_a_session_copied_to_three_hosts_under_another_user_is_killed() -> None:
    session = after(None, seen(minute(0)))
    for number in range(12):
        copy = Baseline(f"host{number % 3}", "mallory", "2.1.0", f"198.51.{number % 3}.0/24")
        session = after(session, seen(minute(1 + number / 4), copy))
    assert session.risk >= risk.KILL_RISK


def test_contributions_say_what_the_risk_would_fall_by() -> None:
    moved = risk.merge((), risk.changes(HOME, Baseline("x", "mallory", "2.1.0", "192.0.2.0/24"), NOW))
    moved = risk.merge(moved, risk.changes(HOME, Baseline("y", "ann", "2.1.0", "192.0.2.0/24"), NOW))
    parts = risk.contributions(moved)
    without_user = tuple(signal for signal in moved if signal.code is not SignalCode.USER_CHANGE)
    assert parts[SignalCode.USER_CHANGE, "mallory"] == pytest.approx(risk.score(moved) - risk.score(without_user))
    assert parts[SignalCode.HOST_CHANGE, "x"] == parts[SignalCode.HOST_CHANGE, "y"] == 0, "either host is enough"
    assert sum(parts.values()) > 0


def test_thresholds_say_what_a_risk_asks_for() -> None:
    limits = risk.Thresholds(flag=0.2, ask=0.4, kill=0.6, tighten=0.3, budget_factor=0.25)
    assert [limits.level(value).value for value in (0.1, 0.2, 0.4, 0.6)] == ["none", "flag", "ask", "kill"]
    assert [limits.budget_share(value) for value in (0.29, 0.3)] == [1.0, 0.25]
    assert spread.weight(99) == spread.weight(4)
