"""An event off the bus, read as what it says about its session and its terminals."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError

from hookbus.contracts.events import Event, Kind
from hookbus.contracts.payloads import (
    PAYLOAD_BY_KIND,
    Fingerprint,
    TerminalClosed,
    TerminalOpened,
    TerminalOutput,
    Usage,
    total_tokens,
)
from hookbus.session.domain import risk
from hookbus.session.domain.agent_records import Note, Objection, note_of, objection_of
from hookbus.session.domain.risk import Baseline
from hookbus.session.domain.sessions import Observation
from hookbus.session.domain.terminals import Output, TerminalChange, storable

FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)


class UnreadablePayloadError(ValueError):
    """The event's data does not fit its kind and never can."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one event says; None for what it does not concern."""

    event_id: str
    session: Observation | None = None
    terminal: TerminalChange | None = None
    note: Note | None = None
    objection: Objection | None = None
    kept_until: datetime = FOR_EVER
    """How long its id is remembered as counted."""

    @property
    def concerns_nothing(self) -> bool:
        """True where there is nothing to store."""
        return not any((self.session, self.terminal, self.note, self.objection))

    @property
    def concerns_session_alone(self) -> bool:
        """True where nothing but a session is to be stored."""
        return self.session is not None and self.terminal is None and self.note is None and self.objection is None


def read_hook(event: Event, now: datetime) -> Reading:
    """Read a hook event. ``now`` bounds its time: a clock that runs ahead must not keep a session alive for ever.

    Raises:
        UnreadablePayloadError: the data does not fit the kind.
    """
    kind = event.kind
    if kind is None:
        raise UnreadablePayloadError(f"no hook kind in type {event.type}")
    payload_class = PAYLOAD_BY_KIND.get(kind)
    if payload_class is not None:
        try:
            payload = payload_class.model_validate(event.data)
        except ValidationError as error:
            raise UnreadablePayloadError(f"the data of a {kind} event does not fit: {_where(error)}") from None
    else:
        payload = None
    at = min(event.time, now)
    session = None
    if event.session is not None:
        session = Observation(
            event.session,
            event.agent_id,
            at,
            project=event.project,
            seen=_fingerprint(event),
            ends=kind is Kind.SESSION_END,
            tokens=_new_tokens(payload),
            signals=risk.tagged_input(event.inputtags, at),
        )
    return Reading(event.id, session, _terminal(event, payload, at), note=note_of(event, at))


def read_security(event: Event, now: datetime) -> Reading:
    """Read a security event: an objection is kept for its agent, and a refused input counts against its session."""
    code = event.security_code
    at = min(event.time, now)
    objection = objection_of(event, at)
    if event.session is None or code is None or code not in risk.REFUSED_INPUT_CODES:
        return Reading(event.id, objection=objection)
    signals = (risk.refused_input(code, at),)
    seen = Observation(event.session, event.agent_id, at, project=event.project, counts=False, signals=signals)
    return Reading(event.id, seen, objection=objection)


def _fingerprint(event: Event) -> Baseline:
    """The fingerprint any kind of event may carry; one that cannot be read says nothing."""
    try:
        return risk.baseline_of(Fingerprint.model_validate(event.data["fingerprint"]), event.clientnetwork)
    except (KeyError, ValidationError):
        return Baseline(network=event.clientnetwork)


def _new_tokens(payload: object) -> int:
    if not isinstance(payload, Usage):
        return 0
    total = total_tokens(payload)
    return total if payload.tokens_used is not None else total - payload.cache_read_tokens


def _terminal(event: Event, payload: object, at: datetime) -> TerminalChange | None:
    agent, session = event.agent_id, event.session
    match payload:
        case TerminalOpened():
            shell = risk.printable(payload.shell or "") or None
            cwd = risk.printable(payload.cwd or "") or None
            return TerminalChange(agent, payload.terminal_id, at, session, shell=shell, cwd=cwd)
        case TerminalOutput():
            name = payload.terminal_id
            output = Output(event.id, agent, name, payload.sequence, payload.stream, storable(payload.text), at)
            return TerminalChange(agent, name, at, session, output=output)
        case TerminalClosed():
            return TerminalChange(
                agent,
                payload.terminal_id,
                at,
                session,
                closes=True,
                truncates=payload.truncated,
                exit_code=payload.exit_code,
            )
        case _:
            return None


def _where(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:3])
