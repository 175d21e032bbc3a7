"""A session's life does not depend on the order in which its events arrive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from hookbus.contracts.decisions import DecisionCode, Verdict
from hookbus.contracts.session import SessionState
from hookbus.session.domain import risk, sessions
from hookbus.session.domain.risk import NOTHING_KNOWN, Baseline
from hookbus.session.domain.sessions import Observation, Session

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def seen(second: int, *, ends: bool = False, host: str | None = None) -> Observation:
    return Observation("s1", "agent", NOW + timedelta(seconds=second), seen=Baseline(host), ends=ends)


def session_of(*observations: Observation) -> Session:
    return reduce(sessions.observed, observations, sessions.opened(observations[0]))


def test_the_first_event_of_any_kind_opens() -> None:
    session = session_of(replace(seen(0, host="h"), project="p"))
    assert (session.state, session.events, session.project) == (SessionState.ACTIVE, 1, "p")
    assert session.baseline.host == "h"


def test_a_late_event_never_moves_last_seen_back() -> None:
    session = session_of(seen(10), seen(3))
    assert session.last_seen_at == NOW + timedelta(seconds=10)
    assert session.events == 2


@given(st.permutations([seen(0), seen(1), seen(2), seen(5, ends=True), seen(4), seen(9)]))
def test_end_and_resume_are_decided_by_time(order: list[Observation]) -> None:
    """The event at 9 s came after the end at 5 s: the session went on, in whatever order the two arrive."""
    session = session_of(*order)
    assert session.state is SessionState.ACTIVE
    assert (session.events, session.last_seen_at) == (6, NOW + timedelta(seconds=9))


@given(st.permutations([seen(0), seen(1), seen(5, ends=True), seen(4)]))
def test_a_straggler_does_not_reopen(order: list[Observation]) -> None:
    assert session_of(*order).state is SessionState.ENDED


def test_a_baseline_is_filled_as_it_becomes_known_and_then_stays() -> None:
    session = session_of(seen(0), seen(1, host="a"), seen(2, host="b"))
    assert session.baseline.host == "a"
    assert [signal.evidence for signal in session.signals] == ["host a became b"]


def test_what_hookbus_reports_counts_no_event() -> None:
    report = replace(seen(2), counts=False, signals=(risk.refused_input("command_refused", NOW),))
    session = session_of(seen(0), report)
    assert session.events == 1
    assert session.risk > risk.score(())


def test_kill_is_idempotent_and_revive_lifts_it() -> None:
    session = session_of(seen(0))
    killed = sessions.killed(session, by="ann", reason="stop", at=NOW)
    assert killed.state is SessionState.KILLED
    assert sessions.killed(killed, by="bob", reason="other", at=NOW + timedelta(1)) == killed
    assert sessions.observed(killed, seen(50)).state is SessionState.KILLED
    assert sessions.revived(killed, at=NOW).state is SessionState.ACTIVE
    assert sessions.revived(session, at=NOW) is session


def test_a_killed_session_is_denied_with_who_and_why() -> None:
    killed = sessions.killed(session_of(seen(0)), by="ann", reason="runs in circles", at=NOW)
    answer = sessions.assessed(killed, NOTHING_KNOWN, NOW)
    assert (answer.decision, answer.code) == (Verdict.DENY, DecisionCode.SESSION_TERMINATED)
    assert answer.reason == "Session s1 was killed by ann: runs in circles."


def test_an_unseen_session_and_an_ended_one_are_allowed() -> None:
    ended = session_of(seen(0), seen(1, ends=True))
    for session in (None, ended):
        answer = sessions.assessed(session, NOTHING_KNOWN, NOW)
        assert (answer.decision, answer.code) == (Verdict.ALLOW, DecisionCode.OK)


def test_risk_asks_then_denies_and_revive_lets_it_go_on() -> None:
    home, away = Baseline("h", "u", "1"), Baseline("h2", "u2", "1")
    session = session_of(replace(seen(0), seen=home))
    asked = sessions.assessed(session, away, NOW)
    assert (asked.decision, asked.code) == (Verdict.ASK, DecisionCode.SESSION_RISK)
    assert "host h became h2" in asked.reason
    refused = tuple(risk.refused_input("input_refused", NOW) for _ in range(3))
    worse = sessions.observed(session, replace(seen(1), seen=away, signals=refused))
    assert sessions.assessed(worse, away, NOW).decision == Verdict.DENY
    revived = sessions.revived(worse, at=NOW)
    assert sessions.assessed(revived, away, NOW).decision == Verdict.ALLOW


def test_a_session_past_the_kill_risk_is_killed_once_and_revived_for_good() -> None:
    """The first killer stays; the evidence a person looked at does not kill again."""
    moved = replace(session_of(seen(0, host="a"), seen(1, host="b")), risk=risk.KILL_RISK)
    killed = sessions.judged(moved, at=NOW)
    assert (killed.state, killed.killed_by) == (SessionState.KILLED, sessions.AUTOMATIC_KILLER)
    assert "a became b" in (killed.kill_reason or "")
    assert sessions.judged(killed, at=NOW + timedelta(seconds=9)).killed_at == NOW
    revived = sessions.revived(killed, at=NOW)
    assert sessions.judged(sessions.observed(revived, seen(2, host="b")), at=NOW).state is SessionState.ACTIVE


@given(st.floats(min_value=0.0, max_value=risk.KILL_RISK, exclude_max=True))
def test_nothing_below_the_kill_risk_kills(value: float) -> None:
    session = replace(session_of(seen(0)), risk=value)
    assert sessions.judged(session, at=NOW) == session
