"""Requests of one method answered together: one handler call for all, a reply or a problem for each.

The wire form is that of :mod:`hookbus.contracts.gathered`; who asks is :mod:`hookbus.platform.bus.rpc_gather`.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog
from opentelemetry.trace import SpanKind
from pydantic import JsonValue, ValidationError

from hookbus.contracts.fields import WireModel
from hookbus.contracts.gathered import Gathered, Member
from hookbus.contracts.problems import FieldError, Problem, ProblemCode, ProblemError
from hookbus.platform import metrics, telemetry
from hookbus.platform.bus.failures import MayPass, nothing_passes
from hookbus.platform.bus.rpc import (
    Answer,
    field_errors,
    note_problem,
    server_attributes,
    unexpected,
)

RequestT = TypeVar("RequestT")

AnswerToOne = WireModel | bytes | ProblemError
"""A reply, a reply as JSON text, or a problem."""
ManyHandler = Callable[[Sequence[RequestT]], Awaitable[Sequence[AnswerToOne]]]
"""From requests to an answer for each, in their order."""

_LOOSE: Final = Gathered[JsonValue]
_PREFIX: Final = "members.0.request."

log = structlog.get_logger(__name__)


def answering_many(
    subject: str,
    gathered_class: type[Gathered[RequestT]],
    handler: ManyHandler[RequestT],
    may_pass: MayPass = nothing_passes,
) -> Answer[bytes | Problem]:
    """``handler`` as an answer to the bytes of many requests, each inside a span of its own trace.

    A request that does not fit, or that the handler fails on, is answered with a problem and leaves the others be:
    where the handler fails on all together, it is asked for each alone.

    Args:
        subject: of the method for one request, under which each is counted and traced.
        gathered_class: the body's model.
        handler: may raise ``ProblemError`` for all of them.
        may_pass: what the handler raises of this kind is all their problem, and nobody is asked for alone.
    """
    attributes = server_attributes(subject)
    span_name = f"process {subject}"
    seconds = metrics.RPC_SECONDS.labels(subject)

    async def answer(_headers: Mapping[str, str] | None, body: bytes) -> bytes | Problem:
        began = time.perf_counter()
        try:
            members = _members(gathered_class, body)
        except ValidationError as error:
            return _unfit(error)
        fitting = [member for member in members if isinstance(member, Member)]
        fits = iter(await within(fitting) if fitting else ())
        answers = [member if isinstance(member, Problem) else next(fits) for member in members]
        took = time.perf_counter() - began
        for answered in answers:
            seconds.observe(took)
            metrics.RPC_REQUESTS.labels(subject, answered.code.value if isinstance(answered, Problem) else "ok").inc()
        return b'{"answers":[%b]}' % b",".join(map(_text, answers))

    async def within(members: Sequence[Member[RequestT]]) -> list[WireModel | bytes]:
        events = ((telemetry.extract(_headers_of(member)), None) for member in members)
        with telemetry.batch_spans(span_name, events, attributes, SpanKind.SERVER) as spans:
            handled = await _handled(subject, handler, may_pass, [member.request for member in members])
            answers = [one.problem if isinstance(one, ProblemError) else one for one in handled]
            for span, one in zip(spans, answers, strict=False):
                if isinstance(one, Problem):
                    note_problem(span, one)
        return answers

    return answer


def _members(gathered_class: type[Gathered[RequestT]], body: bytes) -> list[Member[RequestT] | Problem]:
    """What was asked; of a request that does not fit, what is wrong with it.

    Raises:
        ValidationError: it is no such body at all.
    """
    try:
        return list(gathered_class.model_validate_json(body).members)
    except ValidationError:
        loose = _LOOSE.model_validate_json(body)
    members: list[Member[RequestT] | Problem] = []
    for member in loose.members:
        try:
            alone = json.dumps({"members": [member.model_dump()]})
            members += gathered_class.model_validate_json(alone).members
        except ValidationError as error:
            members.append(_unfit(error, _PREFIX))
    return members


def _headers_of(member: Member[RequestT]) -> dict[str, str] | None:
    return None if member.traceparent is None else {"traceparent": member.traceparent}


async def _handled(
    subject: str, handler: ManyHandler[RequestT], may_pass: MayPass, requests: Sequence[RequestT]
) -> Sequence[AnswerToOne]:
    try:
        answers = await handler(requests)
    except ProblemError as error:
        return [error] * len(requests)
    except Exception as error:  # noqa: BLE001 - their callers are told
        problem = unexpected(subject, error, may_pass, len(requests))
        if len(requests) == 1 or problem.code is ProblemCode.UNAVAILABLE:
            return [problem] * len(requests)
        return [one for request in requests for one in await _handled(subject, handler, may_pass, [request])]
    if len(answers) != len(requests):
        log.error("handler broke its contract", subject=subject, answers=len(answers), requests=len(requests))
        return [Problem(code=ProblemCode.INTERNAL, detail=f"{subject} failed")] * len(requests)
    return answers


def _unfit(error: ValidationError, prefix: str = "") -> Problem:
    """What is wrong below ``prefix``, as the caller of one request knows its fields."""
    faults = (fault for fault in field_errors(error) if fault.loc.startswith(prefix))
    errors = tuple(FieldError(loc=fault.loc.removeprefix(prefix), msg=fault.msg) for fault in faults)
    return Problem(code=ProblemCode.BODY_INVALID, detail="the request does not fit its schema", errors=errors)


def _text(answered: WireModel | bytes) -> bytes:
    if isinstance(answered, bytes):
        return b'{"reply":%b}' % answered
    name = b"problem" if isinstance(answered, Problem) else b"reply"
    return b'{"%b":%b}' % (name, answered.model_dump_json().encode())
