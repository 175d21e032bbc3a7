"""Requests and replies of the trace store: the spans of one event's way through hookbus."""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from hookbus.contracts import limits
from hookbus.contracts.fields import AgentId, Cursor, EventId, UtcTime, WireModel

DURATION_MS_MAX: Final = 7 * 86_400 * 1_000

TraceId = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{32}$")]
SpanId = Annotated[str, StringConstraints(strict=True, pattern=r"^[0-9a-f]{16}$")]


class SpanKind(StrEnum):
    """OpenTelemetry's span kinds."""

    UNSPECIFIED = "unspecified"
    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class SpanStatus(StrEnum):
    """OpenTelemetry's span status."""

    UNSET = "unset"
    OK = "ok"
    ERROR = "error"


class TraceRequest(WireModel):
    """``get``: one trace, by its id or by the id of an event in it. Exactly one of the two is given."""

    event_id: EventId | None = None
    trace_id: TraceId | None = None

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if (self.event_id is None) == (self.trace_id is None):
            raise ValueError("give either event_id or trace_id")
        return self


class Span(WireModel):
    """One step. ``parent_span_id`` may name a span outside hookbus: the hook's own."""

    trace_id: TraceId
    span_id: SpanId
    parent_span_id: SpanId | None = None
    service: str
    name: str
    kind: SpanKind
    started_at: UtcTime
    duration_us: Annotated[int, Field(ge=0)]
    status: SpanStatus = SpanStatus.UNSET
    status_message: str = ""
    event_id: str | None = None
    attributes: dict[str, JsonValue] = Field(default_factory=dict)


class TraceReply(WireModel):
    """The spans by start time. ``truncated`` tells that there are more than one reply carries."""

    trace_id: TraceId
    spans: tuple[Span, ...]
    truncated: bool = False


class TraceStatus(StrEnum):
    """How a trace ended: with an error in one of its steps, with a denial or a question, or with neither."""

    OK = "ok"
    ERROR = "error"
    OBJECTION = "objection"


class TraceListRequest(WireModel):
    """``list``: newest first; ``cursor`` is what the last page returned. ``since`` is in the range, ``until`` not."""

    since: UtcTime | None = None
    until: UtcTime | None = None
    agent_id: AgentId | None = None
    status: TraceStatus | None = None
    duration_min_ms: Annotated[int, Field(ge=0, le=DURATION_MS_MAX)] | None = None
    cursor: Cursor | None = None
    page_items_max: Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_DEFAULT


class TraceSummary(WireModel):
    """One trace of a list. ``name`` is that of its first span; ``decision`` is there where one was made."""

    trace_id: TraceId
    event_id: str | None = None
    name: str
    started_at: UtcTime
    duration_us: Annotated[int, Field(ge=0)]
    spans: int
    has_error: bool
    agent_id: str | None = None
    decision: str | None = None


class TraceListReply(WireModel):
    """``cursor`` is None on the last page."""

    traces: tuple[TraceSummary, ...]
    cursor: Cursor | None = None
