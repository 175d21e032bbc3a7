"""An agent's session: how events move it, what kills and revives it, and what it answers to a pre-task."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hookbus.contracts.decisions import DecisionCode, Verdict
from hookbus.contracts.session import AssessReply, SessionState, SessionView
from hookbus.session.domain import burst, risk
from hookbus.session.domain.burst import CALM, Bursts
from hookbus.session.domain.risk import DEFAULT_THRESHOLDS, NOTHING_KNOWN, Baseline, Signal, Thresholds

AUTOMATIC_KILLER: Final = "hookbus"
KILL_REASON_CHARS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Observation:
    """What one event says about its session. ``at`` is the event's own time, never later than the moment it came in.

    ``counts`` is false for what hookbus itself reports about the session (a refused input).
    """

    session_id: str
    agent_id: str
    at: datetime
    project: str | None = None
    seen: Baseline = NOTHING_KNOWN
    ends: bool = False
    counts: bool = True
    tokens: int = 0
    """New tokens that the event reports: what was read from a cache costs next to nothing and comes in floods."""
    signals: tuple[Signal, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """An agent's session with its evidence.

    ``active_at`` is the latest time of an event other than session-end; with ``ended_at`` it decides whether the
    session is over, so that the order in which events arrive does not.
    """

    id: str
    agent_id: str
    opened_at: datetime
    last_seen_at: datetime
    project: str | None = None
    baseline: Baseline = NOTHING_KNOWN
    risk: float = 0.0
    events: int = 0
    active_at: datetime | None = None
    ended_at: datetime | None = None
    killed_at: datetime | None = None
    killed_by: str | None = None
    kill_reason: str | None = None
    bursts: Bursts = CALM
    signals: tuple[Signal, ...] = ()
    version: int = 0
    """How often it was changed as stored."""

    @property
    def state(self) -> SessionState:
        """Killed until revived; otherwise ended while no event is later than the last session-end."""
        if self.killed_at is not None:
            return SessionState.KILLED
        if self.ended_at is not None and (self.active_at is None or self.active_at <= self.ended_at):
            return SessionState.ENDED
        return SessionState.ACTIVE

    def view(self, *, explain: bool, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> SessionView:
        """The session as it travels; with its evidence where ``explain``."""
        state = self.state
        return SessionView(
            id=self.id,
            agent_id=self.agent_id,
            project=self.project,
            state=state,
            risk=round(self.risk, 4),
            baseline=self.baseline.view(),
            opened_at=self.opened_at,
            last_seen_at=self.last_seen_at,
            events=self.events,
            ended_at=self.ended_at if state is not SessionState.ACTIVE else None,
            killed_at=self.killed_at,
            killed_by=self.killed_by,
            kill_reason=self.kill_reason,
            budget_share=thresholds.budget_share(self.risk),
            signals=risk.explained(self.signals) if explain else (),
        )


def opened(seen: Observation) -> Session:
    """A session as its first event finds it, before that event is counted."""
    return Session(
        seen.session_id,
        seen.agent_id,
        opened_at=seen.at,
        last_seen_at=seen.at,
        risk=risk.score(()),
    )


def observed(session: Session, seen: Observation) -> Session:
    """The session after one event. A late event never moves a time back and never reopens what ended after it."""
    found = risk.changes(session.baseline, seen.seen, seen.at) + seen.signals
    bursts = session.bursts
    if seen.counts:
        bursts = bursts.seen(seen.at, seen.tokens, seen.seen.host)
        found += burst.signals(bursts, seen.at)
    signals = risk.merge(risk.aged(session.signals, seen.at), found)
    ended_at, active_at = session.ended_at, session.active_at
    if seen.ends:
        ended_at = seen.at if ended_at is None else max(ended_at, seen.at)
    elif seen.counts:
        active_at = seen.at if active_at is None else max(active_at, seen.at)
    return replace(
        session,
        project=session.project or seen.project,
        baseline=session.baseline.filled_from(seen.seen),
        last_seen_at=max(session.last_seen_at, seen.at),
        events=session.events + (1 if seen.counts else 0),
        active_at=active_at,
        ended_at=ended_at,
        bursts=bursts,
        signals=signals,
        risk=risk.score(signals),
    )


def only_moved(before: Session, after: Session, thresholds: Thresholds) -> bool:
    """Whether nothing but the session's times, counts and baseline changed: there is nothing to weigh or to tell."""
    return after.signals == before.signals and (after.killed_at is not None or after.risk < thresholds.kill)


def killed(session: Session, *, by: str, reason: str, at: datetime) -> Session:
    """The session killed. One that is killed already keeps its first killer, time and reason."""
    if session.killed_at is not None:
        return session
    return replace(session, killed_at=at, killed_by=by or "unknown", kill_reason=reason or "no reason given")


def judged(session: Session, *, at: datetime, thresholds: Thresholds = DEFAULT_THRESHOLDS) -> Session:
    """The session after its evidence was weighed: one past the kill threshold is killed, until a person revives it.

    A denial at assess lasts as long as the evidence is shown; a kill outlasts it, and is in the log under its reason.
    """
    if session.risk < thresholds.kill:
        return session
    reason = f"its risk reached {session.risk:.2f}. {risk.in_words(session.signals)}"
    return killed(session, by=AUTOMATIC_KILLER, reason=reason[:KILL_REASON_CHARS_MAX], at=at)


def revived(session: Session, *, at: datetime) -> Session:
    """The session free to go on.

    A person who revives a session has looked at it, so the evidence that stands is cleared with it: otherwise a
    session denied for its risk could never be let go on. Nothing changes where there is nothing to lift.
    """
    if session.killed_at is None and not risk.standing(session.signals):
        return session
    signals = risk.cleared(session.signals, at)
    return replace(session, killed_at=None, killed_by=None, kill_reason=None, signals=signals, risk=risk.score(signals))


def assessed(
    session: Session | None, seen: Baseline, at: datetime, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> AssessReply:
    """What a pre-task of this session is answered. ``seen`` counts at once, before its event is stored.

    A session nobody has seen yet is allowed: its first event opens it.
    """
    if session is None:
        return AssessReply(decision=Verdict.ALLOW, code=DecisionCode.OK, reason="", risk=0.0)
    signals = risk.merge(risk.aged(session.signals, at), risk.changes(session.baseline, seen, at))
    value = round(risk.score(signals), 4)
    share = thresholds.budget_share(value)
    if session.killed_at is not None:
        reason = f"Session {session.id} was killed by {session.killed_by}: {session.kill_reason}."
        return AssessReply(
            decision=Verdict.DENY, code=DecisionCode.SESSION_TERMINATED, reason=reason, risk=value, budget_share=share
        )
    if value < min(thresholds.ask, thresholds.tighten):
        return AssessReply(decision=Verdict.ALLOW, code=DecisionCode.OK, reason="", risk=value)
    reason = f"The risk of session {session.id} is {value:.2f}. {risk.in_words(signals)}"
    if value < thresholds.ask:
        return AssessReply(decision=Verdict.ALLOW, code=DecisionCode.OK, reason=reason, risk=value, budget_share=share)
    verdict = Verdict.DENY if value >= thresholds.kill else Verdict.ASK
    return AssessReply(decision=verdict, code=DecisionCode.SESSION_RISK, reason=reason, risk=value, budget_share=share)
