"""Requests and replies over the bus: one typed method a subject, errors as problems, never a silent timeout."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog
from faststream import AckPolicy
from faststream.nats import NatsBroker, NatsMessage
from faststream.nats.response import NatsResponse
from nats.aio.msg import Msg
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
from hookbus.platform.bus.connection import is_connected
from hookbus.platform.bus.failures import MayPass, nothing_passes

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


def unexpected(subject: str, error: Exception, may_pass: MayPass, requests: int = 1) -> Problem:
    """The problem of requests whose handler raised what is no problem, and the log record of it."""
    if may_pass(error):
        log.warning("request put off", subject=subject, requests=requests, error=type(error).__name__)
        service = subject.split(".")[1]
        detail = f"the store of the {service} service is away or busy"
        return Problem(code=ProblemCode.UNAVAILABLE, detail=detail, retry_after_s=RETRY_AFTER_S)
    log.error("request failed", subject=subject, requests=requests, exc_info=error)
    return Problem(code=ProblemCode.INTERNAL, detail=f"{subject} failed")


def answering(
    subject: str,
    request_class: type[RequestT],
    handler: Callable[[RequestT], Awaitable[AnswerT]],
    may_pass: MayPass = nothing_passes,
) -> Answer[AnswerT | Problem]:
    """``handler`` as an answer to bytes, inside a span of the caller's trace. The one place where errors become
    problems."""
    attributes = server_attributes(subject)
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
                note_problem(span, error.problem)
                return error.problem
            except ValidationError as error:
                detail = "the request does not fit its schema"
                return Problem(code=ProblemCode.BODY_INVALID, detail=detail, errors=field_errors(error))
            except Exception as error:  # noqa: BLE001 - its caller is told
                problem = unexpected(subject, error, may_pass)
                note_problem(span, problem)
                return problem

    return answer


def server_attributes(subject: str) -> dict[str, str]:
    """What the span of answering a request of ``subject`` carries."""
    return _attributes(subject, "process", "process")


def client_attributes(subject: str) -> dict[str, str]:
    """What the span of asking ``subject`` carries."""
    return _attributes(subject, "request", "send")


def _attributes(subject: str, operation: str, operation_type: str) -> dict[str, str]:
    return {
        "rpc.system.name": "nats",
        "rpc.method": subject.rpartition(".")[2],
        "messaging.system": "nats",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation_type,
        "messaging.destination.name": subject,
    }


def note_problem(span: trace.Span, problem: Problem) -> None:
    """Mark a request's span with the problem it was answered with; it failed where the caller cannot mend that."""
    span.set_attribute("error.type", problem.code.value)
    if STATUS_BY_CODE[problem.code] >= telemetry.STATUS_SERVER_ERROR:
        span.set_status(StatusCode.ERROR, problem.code.value)


def reply_headers(reply: WireModel) -> dict[str, str] | None:
    """What tells a problem from a reply."""
    if not isinstance(reply, Problem):
        return None
    code = reply.code.value
    return {subjects.HEADER_SERVICE_ERROR: code, subjects.HEADER_SERVICE_ERROR_CODE: code}


class RpcServer:
    """Answers the methods of one service; processes of the same service share the requests."""

    def __init__(self, broker: NatsBroker, service: str, *, may_pass: MayPass = nothing_passes) -> None:
        self._broker = broker
        self._service = service
        self._may_pass = may_pass

    def method(
        self,
        name: str,
        request_class: type[RequestT],
        handler: Callable[[RequestT], Awaitable[WireModel]],
    ) -> None:
        """Answer ``rpc.<service>.<name>``. Call before the broker starts.

        ``handler`` raises :class:`ProblemError` for what the caller can mend; any other exception becomes an
        ``internal`` problem, or ``unavailable`` where it may pass, and a log record.
        """
        subject = subjects.rpc_subject(self._service, name)
        answer = answering(subject, request_class, handler, self._may_pass)

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


class UnansweredError(ProblemError):
    """``unavailable``: no reply came. ``is_unserved`` where the bus said that nobody answers the subject."""

    def __init__(self, detail: str, *, is_unserved: bool = False) -> None:
        super().__init__(ProblemCode.UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S)
        self.is_unserved = is_unserved


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
        with telemetry.span(f"request {subject}", kind=SpanKind.CLIENT, attributes=client_attributes(subject)):
            headers = telemetry.inject({subjects.HEADER_CONTENT_TYPE: "application/json"})
            message = await self.ask(service, subject, request.model_dump_json().encode(), headers, timeout_s=timeout_s)
            if message.headers and subjects.HEADER_SERVICE_ERROR_CODE in message.headers:
                problem = Problem.model_validate_json(message.data)
                raise ProblemError(
                    problem.code, problem.detail, errors=problem.errors, retry_after_s=problem.retry_after_s
                )
            try:
                return reply_class.model_validate_json(message.data)
            except ValidationError as error:
                log.error("reply does not fit", subject=subject, errors=str(field_errors(error)))  # noqa: TRY400 - no stack
                raise ProblemError(ProblemCode.INTERNAL, f"{subject} gave a reply that does not fit") from error

    async def ask(
        self, service: str, subject: str, body: bytes, headers: dict[str, str] | None, *, timeout_s: float
    ) -> Msg:
        """Send ``body`` to a method's subject and wait for what comes back, be it a reply or a problem.

        Raises:
            UnansweredError: the bus is away, or nobody answers within ``timeout_s``.
        """
        if not is_connected(self._broker):
            # A request would only wait in the buffer; the caller is told at once and comes again.
            raise UnansweredError("the bus is away")
        try:
            return await self._broker.connection.request(subject, body, timeout=timeout_s, headers=headers)
        except NoRespondersError as error:
            raise UnansweredError(f"the {service} service is away", is_unserved=True) from error
        except (NatsError, TimeoutError, OSError) as error:
            raise UnansweredError(f"the {service} service did not answer in time") from error


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """Where and what, without the values: they may hold a secret."""
    return tuple(
        FieldError(loc=".".join(str(part) for part in fault["loc"]), msg=fault["msg"])
        for fault in error.errors(include_url=False, include_input=False, include_context=False)
    )
