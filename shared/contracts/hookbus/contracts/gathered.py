"""Requests of one method that travel together, as ``rpc.<service>.<method>_many``.

What one request costs beyond its work (a message each way, a span, a statement) is paid once for all that were asked
while the one before was under way. Members are answered by place, each with a reply or a problem of its own.
"""

from typing import Annotated, Final, Generic, TypeVar

from pydantic import Field

from hookbus.contracts.fields import Traceparent, WireModel
from hookbus.contracts.problems import Problem

MEMBERS_MAX: Final = 64
"""In one message: with the longest replies it stays well below what the bus takes."""
METHOD_SUFFIX: Final = "_many"

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


class Member(WireModel, Generic[RequestT]):
    """One request, in the trace of whoever asked."""

    request: RequestT
    traceparent: Traceparent | None = None


class Gathered(WireModel, Generic[RequestT]):
    """The body of a request."""

    members: Annotated[tuple[Member[RequestT], ...], Field(min_length=1, max_length=MEMBERS_MAX)]


class Answered(WireModel, Generic[ReplyT]):
    """One member's reply or, where it has none, its problem."""

    reply: ReplyT | None = None
    problem: Problem | None = None


class GatheredReply(WireModel, Generic[ReplyT]):
    """The body of a reply: as many answers as members, in their order."""

    answers: tuple[Answered[ReplyT], ...]
