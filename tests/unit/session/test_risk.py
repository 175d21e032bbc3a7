"""The score: explainable, near zero without evidence, and never a denial for what honest sessions do."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.contracts.payloads import Fingerprint
from hookbus.session.domain import risk
from hookbus.session.domain.risk import Baseline, SignalCode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOME = Baseline("laptop", "ann", "2.1.0")


def refusals(count: int) -> tuple[risk.Signal, ...]:
    signals: tuple[risk.Signal, ...] = ()
    for _ in range(count):
        signals = risk.merge(signals, (risk.refused_input("path_outside_workspace", NOW),))
    return signals


def test_no_evidence_is_near_zero() -> None:
    assert risk.score(()) == pytest.approx(0.00995, abs=0.0001)
    assert risk.in_words(()) == "Nothing stands against this session."


@pytest.mark.parametrize(
    ("seen", "below"),
    [
        (Baseline("laptop-wifi2", "ann", "2.1.0"), risk.FLAG_RISK),
        (Baseline("laptop", "ann", "2.2.0"), 0.05),
        (Baseline("laptop-wifi2", "ann", "2.2.0"), risk.FLAG_RISK),
        (Baseline("3f9ac1", "root", "2.1.0"), risk.KILL_RISK),
        (Baseline("3f9ac1", "root", "2.2.0"), risk.KILL_RISK),
        (Baseline(), 0.011),
    ],
    ids=["new network names the host", "upgrade", "both", "resumed in a container", "all at once", "nothing reported"],
)
def test_benign_changes_stay_below(seen: Baseline, below: float) -> None:
    assert risk.score(risk.changes(HOME, seen, NOW)) < below


@given(st.lists(st.builds(Baseline, *(st.sampled_from([None, "a", "b", "c", "d"]) for _ in range(3))), max_size=30))
def test_no_sequence_of_fingerprints_alone_denies(seen: list[Baseline]) -> None:
    """Wherever a session wanders, without a refused input a person is asked at most."""
    signals: tuple[risk.Signal, ...] = ()
    for fingerprint in seen:
        signals = risk.merge(signals, risk.changes(Baseline("a", "a", "a"), fingerprint, NOW))
    assert risk.score(signals) < risk.KILL_RISK


def test_a_moved_session_that_tries_forbidden_paths_is_denied() -> None:
    moved = risk.changes(HOME, Baseline("elsewhere", "mallory", "2.1.0"), NOW)
    assert risk.ASK_RISK <= risk.score(moved) < risk.KILL_RISK
    assert risk.score(risk.merge(moved, refusals(3))) >= risk.KILL_RISK


def test_refusals_alone_ask_and_never_deny() -> None:
    assert risk.score(refusals(1)) < 0.05
    assert risk.score(refusals(20)) < risk.FLAG_RISK
    assert risk.ASK_RISK <= risk.score(refusals(255)) < risk.KILL_RISK
    assert risk.refused_inputs_weight(10**9) == risk.WEIGHT_REFUSED_INPUTS_MAX


def test_evidence_is_told_in_words() -> None:
    (signal,) = risk.changes(HOME, replace(HOME, host="other"), NOW)
    assert signal.code is SignalCode.HOST_CHANGE
    assert signal.words == "The session moved to another host: host laptop became other."
    assert refusals(2)[0].words == "2 inputs were refused by the guard, the last for path_outside_workspace."


def test_the_same_change_counts_once() -> None:
    change = risk.changes(HOME, replace(HOME, host="other"), NOW)
    once = risk.merge((), change)
    assert risk.merge(once, change) == once


def test_cleared_changes_stay_cleared_and_refusals_start_again() -> None:
    change = risk.changes(HOME, replace(HOME, host="other"), NOW)
    cleared = risk.cleared(risk.merge(change, refusals(7)), NOW)
    assert risk.score(cleared) == risk.score(())
    again = risk.merge(cleared, (*change, risk.refused_input("command_refused", NOW)))
    standing = risk.standing(again)
    assert [(signal.code, signal.occurrences) for signal in standing] == [(SignalCode.REFUSED_INPUTS, 1)]


def test_the_evidence_of_one_session_is_bounded() -> None:
    signals: tuple[risk.Signal, ...] = ()
    for number in range(risk.SIGNALS_PER_CODE_MAX * 2):
        signals = risk.merge(signals, risk.changes(HOME, replace(HOME, host=f"host{number}"), NOW))
    assert len(signals) == risk.SIGNALS_PER_CODE_MAX
    more = risk.merge(signals, (risk.refused_input("command_refused", NOW),))
    assert len(more) == risk.SIGNALS_PER_CODE_MAX + 1, "one kind keeps no other out"


def test_fingerprints_hold_no_control_characters() -> None:
    assert risk.baseline_of(Fingerprint(host="a\x00b\x1b[2J", user=""), None) == Baseline("a�b�[2J")
