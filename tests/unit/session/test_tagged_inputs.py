"""Signs of injection as evidence: seen, explained, and never enough to matter alone."""

from datetime import UTC, datetime, timedelta

from support.events import hook_event

from hookbus.contracts.events import Kind
from hookbus.session.domain import risk, sessions
from hookbus.session.domain.observe import read_hook
from hookbus.session.domain.risk import FLAG_RISK, WEIGHT_INPUT_TAGGED, SignalCode
from hookbus.session.domain.sessions import Session

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EVENTS = 500
"""A day of writing tests against injection."""


def after(tags: list[str | None]) -> Session:
    """A session after one decided pre-task for each, with the tags that the gateway found, a minute apart."""
    session: Session | None = None
    for number, found in enumerate(tags):
        at = NOW + timedelta(minutes=number)
        event = hook_event(Kind.PRE_TASK, session="s", time=at, data={"tool": "Write"}).model_copy(
            update={"inputtags": found}
        )
        seen = read_hook(event, at).session
        assert seen is not None
        session = sessions.observed(session or sessions.opened(seen), seen)
    assert session is not None
    return session


def test_a_tag_is_evidence_in_words() -> None:
    session = after([None, "sqli,xss"])
    found = {signal.key: signal for signal in session.signals}
    assert set(found) == {"sqli", "xss"}
    assert all((one.code, one.weight) == (SignalCode.INPUT_TAGGED, WEIGHT_INPUT_TAGGED) for one in found.values())
    assert "signs of injection (sqli)" in risk.in_words(session.signals)
    assert session.risk > after([None, None]).risk


def test_a_session_that_sends_nothing_else_stays_far_from_any_threshold() -> None:
    """However often and of however many kinds: the evidence does not add up."""
    once, always = after(["sqli,ssti,xss"]), after(["sqli,ssti,xss"] * EVENTS)
    assert len(always.signals) == len(once.signals)
    assert always.risk == once.risk
    assert always.risk < FLAG_RISK / 10
