"""Requests and replies over the bus: one typed method a subject, errors as problems, never a silent timeout."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog
from faststream import AckPolicy
from faststream.nats import NatsBroker, NatsMessage
from faststream.nats.response import NatsResponse
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import ValidationError

from hookbus.contracts import subjects
from hookbus.contracts.fields import WireModel
from hookbus.contracts.problems import STATUS_BY_CODE, FieldError, Problem, ProblemCode, ProblemError
from hookbus.platform import metrics, telemetry

REQUESTS_CONCURRENT_MAX: Final = 256
"""Requests of one method that one process works on at once; more wait in the connection's buffer."""
CALL_TIMEOUT_S: Final = 2.0
RETRY_AFTER_S: Final = 1.0

RequestT = TypeVar("RequestT", bound=WireModel)
AnswerT = TypeVar("AnswerT", bound=WireModel | bytes)
ReplyT = TypeVar("ReplyT", bound=WireModel)

log = structlog.get_logger(__name__)


Answer = Callable[[Mapping[str, str] | None, bytes], Awaitable[AnswerT]]
"""From a request's headers and body to its reply, or to a :class:`Problem`. Never raises."""


def answering(
    subject: str, request_class: type[RequestT], handler: Callable[[RequestT], Awaitable[AnswerT]]
) -> Answer[AnswerT | Problem]:
    """``handler`` as an answer to bytes, inside a span of the caller's trace. The one place where errors become
    problems."""
    method = subject.rpartition(".")[2]
    attributes = {
        "rpc.system.name": "nats",
        "rpc.method": method,
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": subject,
    }
    span_name = f"process {subject}"
    seconds = metrics.RPC_SECONDS.labels(subject)

    async def answer(headers: Mapping[str, str] | None, body: bytes) -> AnswerT | Problem:
        context = telemetry.extract(headers)
        began = time.perf_counter()
        answered = await within(context, body)
        seconds.observe(time.perf_counter() - began)
        metrics.RPC_REQUESTS.labels(subject, answered.code.value if isinstance(answered, Problem) else "ok").inc()
        return answered

    async def within(context: Context, body: bytes) -> AnswerT | Problem:
        with telemetry.span(span_name, kind=SpanKind.SERVER, context=context, attributes=attributes) as span:
            try:
                return await handler(request_class.model_validate_json(body))
            except ProblemError as error:
                code = error.problem.code
                span.set_attribute("error.type", code.value)
                if STATUS_BY_CODE[code] >= telemetry.STATUS_SERVER_ERROR:
                    span.set_status(StatusCode.ERROR, code.value)
                return error.problem
            except ValidationError as error:
                detail = "the request does not fit its schema"
                return Problem(code=ProblemCode.BODY_INVALID, detail=detail, errors=field_errors(error))
            except Exception:
                log.exception("request failed", subject=subject)
                span.set_status(StatusCode.ERROR)
                return Problem(code=ProblemCode.INTERNAL, detail=f"{subject} failed")

    return answer


def reply_headers(reply: WireModel) -> dict[str, str] | None:
    """What tells a problem from a reply."""
    if not isinstance(reply, Problem):
        return None
    code = reply.code.value
    return {subjects.HEADER_SERVICE_ERROR: code, subjects.HEADER_SERVICE_ERROR_CODE: code}


class RpcServer:
    """Answers the methods of one service; processes of the same service share the requests."""

    def __init__(self, broker: NatsBroker, service: str) -> None:
        self._broker = broker
        self._service = service

    def method(
        self,
        name: str,
        request_class: type[RequestT],
        handler: Callable[[RequestT], Awaitable[WireModel]],
    ) -> None:
        """Answer ``rpc.<service>.<name>``. Call before the broker starts.

        ``handler`` raises :class:`ProblemError` for what the caller can mend; any other exception becomes an
        ``internal`` problem and a log record.
        """
        subject = subjects.rpc_subject(self._service, name)
        answer = answering(subject, request_class, handler)

        async def reply(message: NatsMessage) -> NatsResponse:
            answered = await answer(message.headers, message.body)
            return NatsResponse(answered.model_dump_json().encode(), headers=reply_headers(answered))

        async def undecoded(message: NatsMessage) -> NatsMessage:
            return message

        self._broker.subscriber(
            subject,
            queue=self._service,
            max_workers=REQUESTS_CONCURRENT_MAX,
            ack_policy=AckPolicy.MANUAL,
            decoder=undecoded,
        )(reply)


class RpcClient:
    """Calls methods of other services."""

    def __init__(self, broker: NatsBroker) -> None:
        self._broker = broker

    async def call(
        self,
        service: str,
        name: str,
        request: WireModel,
        reply_class: type[ReplyT],
        *,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> ReplyT:
        """Ask ``rpc.<service>.<name>`` and wait for its reply.

        Raises:
            ProblemError: the service's own problem; ``unavailable`` when nobody answers within ``timeout_s``.
        """
        subject = subjects.rpc_subject(service, name)
        attributes = {
            "rpc.system.name": "nats",
            "rpc.method": name,
            "messaging.system": "nats",
            "messaging.operation.name": "request",
            "messaging.operation.type": "send",
            "messaging.destination.name": subject,
        }
        with telemetry.span(f"request {subject}", kind=SpanKind.CLIENT, attributes=attributes):
            if not self._broker.connection.is_connected:
                # A request would only wait in the buffer; the caller is told at once and comes again.
                raise ProblemError(ProblemCode.UNAVAILABLE, "the bus is away", retry_after_s=RETRY_AFTER_S)
            try:
                message = await self._broker.connection.request(
                    subject,
                    request.model_dump_json().encode(),
                    timeout=timeout_s,
                    headers=telemetry.inject({subjects.HEADER_CONTENT_TYPE: "application/json"}),
                )
            except (NatsError, TimeoutError, OSError) as error:
                _mark_failed(error)
                raise ProblemError(
                    ProblemCode.UNAVAILABLE, _away(service, error), retry_after_s=RETRY_AFTER_S
                ) from error
            if message.headers and subjects.HEADER_SERVICE_ERROR_CODE in message.headers:
                problem = Problem.model_validate_json(message.data)
                raise ProblemError(
                    problem.code, problem.detail, errors=problem.errors, retry_after_s=problem.retry_after_s
                )
            try:
                return reply_class.model_validate_json(message.data)
            except ValidationError as error:
                _mark_failed(error)
                log.error("reply does not fit", subject=subject, errors=str(field_errors(error)))  # noqa: TRY400 - no stack
                raise ProblemError(ProblemCode.INTERNAL, f"{subject} gave a reply that does not fit") from error


def _away(service: str, error: Exception) -> str:
    if isinstance(error, NoRespondersError):
        return f"the {service} service is away"
    return f"the {service} service did not answer in time"


def _mark_failed(error: Exception) -> None:
    trace.get_current_span().set_status(StatusCode.ERROR, type(error).__name__)


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """Where and what, without the values: they may hold a secret."""
    return tuple(
        FieldError(loc=".".join(str(part) for part in fault["loc"]), msg=fault["msg"])
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    )
