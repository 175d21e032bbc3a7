"""Calls of one method that are made at the same moment go out together (:mod:`hookbus.contracts.gathered`).

A call that nobody is ahead of goes at once and alone. While it is under way further ones gather; they are the next
message, and so on: the messages grow with the load, and an idle system adds no delay.
"""

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

import structlog
from opentelemetry.trace import SpanKind
from pydantic import JsonValue, ValidationError

from hookbus.contracts import subjects
from hookbus.contracts.fields import WireModel
from hookbus.contracts.gathered import MEMBERS_MAX, METHOD_SUFFIX, Answered, Gathered, GatheredReply, Member
from hookbus.contracts.problems import Problem, ProblemCode, ProblemError
from hookbus.platform import metrics, telemetry
from hookbus.platform.bus.rpc import RpcClient, UnansweredError, client_attributes, field_errors

WAITING_MAX: Final = 4_096
"""Calls that wait to be sent; beyond it a caller is turned away at once."""
HELD_BACK_S_MAX: Final = 0.1
"""A message that is not answered in this time no longer holds back those who wait: its receiver may hang, and
another process of the service may be well."""
UNDER_WAY_MAX: Final = 16
"""Messages that wait for their answers at once."""
UNSERVED_S: Final = 10.0
"""How long calls go out one by one after nobody answered the method for many: the service is older than this."""
RETRY_AFTER_S: Final = 1.0

RequestT = TypeVar("RequestT", bound=WireModel)
ReplyT = TypeVar("ReplyT", bound=WireModel)

_LOOSE: Final = GatheredReply[JsonValue]

log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class _Waiting(Generic[RequestT, ReplyT]):
    request: RequestT
    traceparent: str | None
    reply: asyncio.Future[ReplyT] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class GatheredCalls(Generic[RequestT, ReplyT]):
    """Calls one method for many callers. For use in one event loop."""

    def __init__(
        self,
        rpc: RpcClient,
        service: str,
        method: str,
        *,
        gathered_class: type[Gathered[RequestT]],
        gathered_reply_class: type[GatheredReply[ReplyT]],
        reply_class: type[ReplyT],
        timeout_s: float,
    ) -> None:
        self._rpc = rpc
        self._service = service
        self._method = method
        self._gathered_class = gathered_class
        self._gathered_reply_class = gathered_reply_class
        self._reply_class = reply_class
        self._timeout_s = timeout_s
        self._subject = subjects.rpc_subject(service, method)
        self._attributes = client_attributes(self._subject)
        self._waiting: deque[_Waiting[RequestT, ReplyT]] = deque()
        self._under_way = 0
        self._hurry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._alone_until = 0.0

    async def call(self, request: RequestT) -> ReplyT:
        """Ask and wait.

        Raises:
            ProblemError: the service's own problem with this request; ``unavailable`` when it does not answer within
                the timeout, the time until the request was sent included.
        """
        if self._alone_until > time.monotonic():
            return await self._alone(request)
        if self._under_way == 0:
            self._under_way += 1
            try:
                return await self._alone(request)
            finally:
                self._answered()
        if len(self._waiting) >= WAITING_MAX:
            raise ProblemError(
                ProblemCode.UNAVAILABLE, f"too many wait for the {self._service} service", retry_after_s=RETRY_AFTER_S
            )
        with telemetry.span(f"request {self._subject}", kind=SpanKind.CLIENT, attributes=self._attributes):
            waiting = _Waiting[RequestT, ReplyT](request, telemetry.current_traceparent())
            self._waiting.append(waiting)
            if self._hurry is None:
                self._hurry = asyncio.get_running_loop().call_later(HELD_BACK_S_MAX, self._send_next)
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await waiting.reply
            except TimeoutError as error:
                raise UnansweredError(f"the {self._service} service did not answer in time") from error

    async def _alone(self, request: RequestT) -> ReplyT:
        return await self._rpc.call(self._service, self._method, request, self._reply_class, timeout_s=self._timeout_s)

    def _answered(self) -> None:
        self._under_way -= 1
        self._send_next()

    def _send_next(self) -> None:
        """Send what waits, as one message."""
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None
        if self._under_way >= UNDER_WAY_MAX:
            return
        members: list[_Waiting[RequestT, ReplyT]] = []
        while self._waiting and len(members) < MEMBERS_MAX:
            waiting = self._waiting.popleft()
            if not waiting.reply.done():  # its caller may have given up
                members.append(waiting)
        if not members:
            return
        if self._waiting:
            self._hurry = asyncio.get_running_loop().call_later(HELD_BACK_S_MAX, self._send_next)
        self._under_way += 1
        task = asyncio.create_task(self._send(members))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, members: list[_Waiting[RequestT, ReplyT]]) -> None:
        try:
            await self._ask(members)
        except Exception as error:
            problem = error.problem if isinstance(error, ProblemError) else None
            if problem is None:
                log.exception("calls failed", subject=self._subject, calls=len(members))
                problem = Problem(code=ProblemCode.INTERNAL, detail=f"{self._subject} failed")
            for waiting in members:
                _refuse(waiting, problem)
        finally:
            self._answered()

    async def _ask(self, members: list[_Waiting[RequestT, ReplyT]]) -> None:
        metrics.RPC_GATHERED_REQUESTS.labels(self._subject).observe(len(members))
        body = self._gathered_class(
            members=tuple(Member(request=one.request, traceparent=one.traceparent) for one in members)
        )
        subject = f"{self._subject}{METHOD_SUFFIX}"
        text = body.model_dump_json(exclude_none=True).encode()
        try:
            message = await self._rpc.ask(self._service, subject, text, None, timeout_s=self._timeout_s)
        except UnansweredError as error:
            if not error.is_unserved:
                raise
            self._alone_until = time.monotonic() + UNSERVED_S
            await asyncio.gather(*(self._ask_alone(waiting) for waiting in members))
            return
        if message.headers and subjects.HEADER_SERVICE_ERROR_CODE in message.headers:
            problem = Problem.model_validate_json(message.data)
            for waiting in members:
                _refuse(waiting, problem)
            return
        answers = self._answers(message.data)
        if len(answers) != len(members):
            log.error("answers missing", subject=subject, answers=len(answers), requests=len(members))
            answers = [self._unfit()] * len(members)
        for waiting, answer in zip(members, answers, strict=True):
            if isinstance(answer, Problem):
                _refuse(waiting, answer)
            elif not waiting.reply.done():
                waiting.reply.set_result(answer)

    async def _ask_alone(self, waiting: _Waiting[RequestT, ReplyT]) -> None:
        try:
            reply = await self._alone(waiting.request)
        except ProblemError as error:
            _refuse(waiting, error.problem)
        else:
            if not waiting.reply.done():
                waiting.reply.set_result(reply)

    def _answers(self, body: bytes) -> list[ReplyT | Problem]:
        """One for each member; a reply that does not fit leaves the others be."""
        try:
            return [self._one(answered) for answered in self._gathered_reply_class.model_validate_json(body).answers]
        except ValidationError as error:
            log.error("replies do not fit", subject=self._subject, errors=str(field_errors(error)))  # noqa: TRY400 - no stack
        try:
            loose = _LOOSE.model_validate_json(body).answers
        except ValidationError:
            return []
        answers: list[ReplyT | Problem] = []
        for answered in loose:
            try:
                alone = json.dumps({"answers": [answered.model_dump()]})
                answers += [self._one(one) for one in self._gathered_reply_class.model_validate_json(alone).answers]
            except ValidationError:
                answers.append(self._unfit())
        return answers

    def _one(self, answered: Answered[ReplyT]) -> ReplyT | Problem:
        if answered.problem is not None:
            return answered.problem
        return answered.reply if answered.reply is not None else self._unfit()

    def _unfit(self) -> Problem:
        return Problem(code=ProblemCode.INTERNAL, detail=f"{self._subject} gave a reply that does not fit")


def _refuse(waiting: _Waiting[RequestT, ReplyT], problem: Problem) -> None:
    """Give the caller the problem, as an exception of its own: one raised in many tasks gathers all their stacks."""
    if not waiting.reply.done():
        waiting.reply.set_exception(
            ProblemError(problem.code, problem.detail, errors=problem.errors, retry_after_s=problem.retry_after_s)
        )
