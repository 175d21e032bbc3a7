"""From a body to events: the three forms, completed, validated and guarded. Clock and ids are passed in."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import JsonValue, ValidationError

from hookbus.contracts import limits
from hookbus.contracts.events import (
    MEDIA_TYPE_BATCH,
    MEDIA_TYPE_EVENT,
    MEDIA_TYPE_JSON,
    Event,
    Kind,
    ShortEvent,
    type_of_kind,
)
from hookbus.contracts.payloads import PAYLOAD_BY_KIND
from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError
from hookbus.contracts.subjects import hook_subject
from hookbus.gateway.guard.effort import Effort, GuardMode
from hookbus.gateway.guard.structure import check_structure, has_control, key_fault
from hookbus.gateway.problems import invalid
from hookbus.gateway.strict_json import JsonTree
from hookbus.platform.bus.publisher import Outgoing, outgoing

EVENT_MEDIA_TYPES: Final = (MEDIA_TYPE_JSON, MEDIA_TYPE_EVENT, MEDIA_TYPE_BATCH)
COMPLETION_BYTES_MAX: Final = 8 * 1024
"""What completing an event may add to its size."""
EVENTS_BETWEEN_YIELDS: Final = 200
"""Who takes in many events at once lets other requests run after so many of them."""
RESERVED_ATTRIBUTES: Final = ("decision", "decisioncode", "reservation", "inputtags", "clientnetwork")
"""Only hookbus itself says what it decided."""
SPECVERSION: Final = "1.0"


@dataclass(frozen=True)
class Intake:
    """What completes an event: when and where it came in, a source of ids, and the trace of the request."""

    now: datetime
    new_id: Callable[[], str]
    traceparent: str | None
    guard_mode: GuardMode = GuardMode.LENIENT
    network: str | None = None
    """Where the request came from."""

    def event(self, tree: JsonTree, *, cloudevent: bool) -> Event:
        """One event.

        Raises:
            ProblemError: ``body_invalid`` or ``input_refused``.
        """
        if not isinstance(tree, dict):
            raise ProblemError(ProblemCode.BODY_INVALID, "an event is a JSON object")
        _refuse_keys(tree)
        try:
            event = self._cloudevent(tree) if cloudevent else self._short(tree)
            kind = event.kind
            if kind is None:
                raise _fault("type", "the type must be dev.hookbus.<kind>.v1 with a kind of hook")
        except ValidationError as error:
            raise invalid(error) from None
        bounded = kind is Kind.PRE_TASK and self.guard_mode is GuardMode.STRICT
        refusal = check_structure(event.data, Effort.of(self.guard_mode) if bounded else None)
        if refusal is not None:
            raise ProblemError(
                ProblemCode.INPUT_REFUSED, refusal.reason, errors=(FieldError(loc=refusal.loc, msg=refusal.reason),)
            )
        if has_control(event.source):
            raise ProblemError(ProblemCode.INPUT_REFUSED, "the source holds a control character")
        _check_payload(kind, event.data)
        return event

    def _cloudevent(self, tree: dict[str, JsonTree]) -> Event:
        for name in RESERVED_ATTRIBUTES:
            if name in tree:
                raise _fault(name, "this attribute is set by hookbus alone")
        if tree.get("specversion") != SPECVERSION:
            raise _fault("specversion", f"must be {SPECVERSION!r}")
        completed: dict[str, JsonTree | datetime] = dict(tree)
        if self.network is not None:
            completed["clientnetwork"] = self.network
        if completed.get("id") is None:
            completed["id"] = self.new_id()
        if completed.get("time") is None:
            completed["time"] = self.now
        if completed.get("traceparent") is None and self.traceparent is not None:
            completed["traceparent"] = self.traceparent
        if completed.get("data") is None:
            completed.pop("data", None)
        return Event.model_validate(completed)

    def _short(self, tree: dict[str, JsonTree]) -> Event:
        short = ShortEvent.model_validate(tree)
        return Event(
            id=short.id or self.new_id(),
            source=short.source or f"urn:hookbus:agent:{short.agent_id}",
            type=type_of_kind(short.kind),
            subject=short.agent_id,
            time=short.time or self.now,
            traceparent=short.traceparent or self.traceparent,
            agentcategory=short.agent_category,
            project=short.project,
            intent=short.intent,
            session=short.session,
            clientnetwork=self.network,
            data=short.data,
        )


def message_of(event: Event, traceparent: str | None) -> Outgoing:
    """``event`` ready for the bus.

    Raises:
        ProblemError: ``too_large``.
    """
    kind = event.kind
    assert kind is not None
    message = outgoing(event, hook_subject(kind, event.subject), traceparent=traceparent)
    if len(message.body) > limits.EVENT_BYTES_MAX + COMPLETION_BYTES_MAX:
        raise ProblemError(ProblemCode.TOO_LARGE, f"the event is over {limits.EVENT_BYTES_MAX} bytes")
    return message


def _refuse_keys(tree: dict[str, JsonTree]) -> None:
    for key in tree:
        reason = key_fault(key)
        if reason is not None:
            raise ProblemError(ProblemCode.INPUT_REFUSED, reason)


def _check_payload(kind: Kind, data: dict[str, JsonValue]) -> None:
    payload_class = PAYLOAD_BY_KIND.get(kind)
    if payload_class is None:
        return
    try:
        payload_class.model_validate(data)
    except ValidationError as error:
        raise invalid(error, "data.") from None


def _fault(loc: str, msg: str) -> ProblemError:
    return ProblemError(
        ProblemCode.BODY_INVALID, "the body does not fit its schema", errors=(FieldError(loc=loc, msg=msg),)
    )
