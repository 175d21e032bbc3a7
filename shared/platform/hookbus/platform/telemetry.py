"""OpenTelemetry: one W3C trace from the hook through HTTP and the bus into each service and its SQL.

Where no endpoint is set nothing is recorded: trace ids still travel, at the cost of reading and writing a header.
"""

import random
import re
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Final, Self

from opentelemetry import context as context_api
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from hookbus.contracts.problems import STATUS_BY_CODE, ProblemError
from hookbus.platform.exporting import BoundedSpanProcessor, span_exporter
from hookbus.platform.recording import RecordingTracer
from hookbus.platform.sampling import Keeper, Rate, RateSampler
from hookbus.platform.settings import ServiceSettings

ATTRIBUTE_EVENT_ID: Final = "hookbus.event_id"
ATTRIBUTE_AGENT_ID: Final = "hookbus.agent_id"

STEP_SPANS_MAX: Final = 64
"""Events of one batch that get a span of their own for a step done once for all; the others have the consumer's."""
STATUS_SERVER_ERROR: Final = 500

_INSTRUMENTATION_NAME: Final = "hookbus"
_PROPAGATOR: Final[TextMapPropagator] = TraceContextTextMapPropagator()
_TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_UNSAMPLED: Final = TraceFlags(TraceFlags.DEFAULT)


@dataclass
class _Process:
    """What the process's telemetry is, once it is started."""

    tracer: RecordingTracer | None = None
    keeper: Keeper | None = None
    rate: Rate | None = None
    keeps: bool = False
    quiet: bool = False


_PROCESS: Final = _Process()
_BATCH: Final[ContextVar[tuple[trace.Span, ...]]] = ContextVar("hookbus_batch", default=())


class Telemetry:
    """What makes and exports the spans of one process. Create once, before the first span; close last.

    Args:
        service: the process's name in traces.
        settings: checked settings.
        is_edge: whether callers from outside reach it: then the rate decides what is sampled, not the caller's flag.
    """

    def __init__(self, service: str, settings: ServiceSettings, *, is_edge: bool = False) -> None:
        resource = Resource.create({SERVICE_NAME: service, SERVICE_NAMESPACE: "hookbus"})
        self._keeper: Keeper | None = None
        endpoint, protocol = settings.otlp_endpoint or None, settings.otlp_protocol
        if endpoint is not None and (settings.trace_sample_ratio > 0 or settings.trace_keep_objections):
            rate = Rate(settings.trace_sample_ratio)
            sampler = RateSampler(rate, keeps=settings.trace_keep_objections, decides=is_edge)
            keeper = Keeper(BoundedSpanProcessor(span_exporter(endpoint, protocol)))
            self._keeper = _PROCESS.keeper = keeper
            _PROCESS.tracer = RecordingTracer(sampler, keeper, resource)
            _PROCESS.rate = rate if is_edge else None
            _PROCESS.keeps = settings.trace_keep_objections
        else:
            _PROCESS.quiet = True
        propagate.set_global_textmap(_PROPAGATOR)

    def close(self) -> None:
        """Export what waits, within the export timeout."""
        if self._keeper is not None:
            self._keeper.shutdown()


def tracer() -> trace.Tracer | RecordingTracer:
    """The process's tracer; that of the library's provider until telemetry is started."""
    return _PROCESS.tracer or _library_tracer()


@cache
def _library_tracer() -> trace.Tracer:
    """Kept: looking it up costs more than a span."""
    return trace.get_tracer(_INSTRUMENTATION_NAME)


def extract(headers: Mapping[str, str] | None) -> Context:
    """The trace context that ``headers`` carry (W3C ``traceparent``, version 00), or an empty one."""
    given = _TRACEPARENT.fullmatch(headers.get("traceparent", "")) if headers else None
    if given is None:
        return Context()
    # By hand: the library's propagator takes several times as long, for every message.
    context = SpanContext(
        int(given[1], 16), int(given[2], 16), is_remote=True, trace_flags=TraceFlags(int(given[3], 16) & 1)
    )
    return trace.set_span_in_context(NonRecordingSpan(context), Context()) if context.is_valid else Context()


def inject(headers: dict[str, str]) -> dict[str, str]:
    """Add the current span's ``traceparent`` to ``headers`` and return them."""
    current = current_traceparent()
    if current is not None:
        headers["traceparent"] = current
    return headers


def current_trace_id() -> str:
    """The current trace id as 32 hex digits; all zeros outside a trace."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def current_traceparent() -> str | None:
    """The current span as a ``traceparent``, or None outside a trace."""
    return _traceparent(trace.get_current_span().get_span_context())


def rated(traceparent: str | None) -> str | None:
    """A caller's ``traceparent`` with the flag that this process's rate gives its trace."""
    if traceparent is None or _PROCESS.rate is None:
        return traceparent
    trace_id = int(traceparent[3:35], 16)
    taken = _PROCESS.rate.takes(trace_id) or (_PROCESS.keeper is not None and _PROCESS.keeper.is_kept(trace_id))
    return f"{traceparent[:52]}-{'01' if taken else '00'}"


def _traceparent(context: SpanContext) -> str | None:
    if not context.is_valid:
        return None
    kept = _PROCESS.keeper is not None and _PROCESS.keeper.is_kept(context.trace_id)
    flags = TraceFlags.SAMPLED if kept else int(context.trace_flags)
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags:02x}"


def keep() -> None:
    """Export the current trace whatever the rate says: it holds an objection."""
    _keep(trace.get_current_span())


def keep_each(objections: Iterable[bool]) -> None:
    """:meth:`keep` for those events of the batch that hold an objection, by place; outside a batch for the current one.

    Where the batch is not handled as a whole, an objection keeps them all.
    """
    spans, objected = _BATCH.get() or (trace.get_current_span(),), tuple(objections)
    if len(spans) != len(objected):
        objected = (any(objected),) * len(spans)
    for one, objects in zip(spans, objected, strict=True):
        if objects:
            _keep(one)


def _keep(kept: trace.Span) -> None:
    if _PROCESS.keeper is not None and kept.is_recording():
        context = kept.get_span_context()
        if not context.trace_flags.sampled:
            _PROCESS.keeper.keep(context.trace_id)


def is_recording() -> bool:
    """Whether the current span is recorded: what a span's attributes cost is spared where it is not."""
    return trace.get_current_span().is_recording()


def mark(attributes: Mapping[str, AttributeValue]) -> None:
    """Note something on the current span."""
    trace.get_current_span().set_attributes(attributes)


def mark_each(attributes: Iterable[Mapping[str, AttributeValue]]) -> None:
    """Note something on each event's span of the batch that is handled, by place; outside a batch on the current one.

    Nothing is noted where the batch is not handled as a whole.
    """
    spans, noted = _BATCH.get() or (trace.get_current_span(),), tuple(attributes)
    if len(spans) == len(noted):
        for one, own in zip(spans, noted, strict=True):
            one.set_attributes(own)


class span:  # noqa: N801 - used as a function: ``with span(...)``; a class costs half of a generator
    """A span around a block. An error marks it as failed, without the error's text, and passes on.

    A problem that is the caller's own (a status below 500) is noted and is no failure.
    """

    __slots__ = ("_span", "_token")

    def __init__(
        self,
        name: str,
        *,
        kind: trace.SpanKind = trace.SpanKind.INTERNAL,
        context: Context | None = None,
        attributes: Mapping[str, AttributeValue] | None = None,
    ) -> None:
        if _PROCESS.quiet:
            self._span = _quiet_span(context)
        elif context is None and _is_dropped(within := trace.get_current_span()):
            self._span = within
        else:
            self._span = tracer().start_span(name, context=context, kind=kind, attributes=attributes)

    def __enter__(self) -> trace.Span:
        self._token = context_api.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        context_api.detach(self._token)
        if isinstance(error, Exception) and self._span.is_recording():
            _note_error(self._span, error)
        self._span.end()


def _is_dropped(current: trace.Span) -> bool:
    """Whether this process decided that the trace is not recorded: then the library need not be asked again."""
    context = current.get_span_context()
    return isinstance(current, NonRecordingSpan) and context.is_valid and not context.is_remote


def _quiet_span(context: Context | None) -> trace.Span:
    """What stands for a span where nothing is exported: the trace goes on under the ids it has."""
    parent = trace.get_current_span(context)
    if parent.get_span_context().is_valid:
        return parent if isinstance(parent, NonRecordingSpan) else NonRecordingSpan(parent.get_span_context())
    return NonRecordingSpan(
        SpanContext(random.getrandbits(128) or 1, random.getrandbits(64) or 1, is_remote=False, trace_flags=_UNSAMPLED)
    )


def _note_error(failed: trace.Span, error: Exception) -> None:
    if isinstance(error, ProblemError):
        failed.set_attribute("error.type", error.problem.code.value)
        if STATUS_BY_CODE[error.problem.code] < STATUS_SERVER_ERROR:
            return
        failed.set_status(StatusCode.ERROR, error.problem.code.value)
        return
    failed.set_attribute("error.type", type(error).__name__)
    failed.set_status(StatusCode.ERROR, type(error).__name__)


@contextmanager
def batch_spans(
    name: str,
    events: Iterable[tuple[Context, str | None]],
    attributes: Mapping[str, AttributeValue],
    kind: trace.SpanKind = trace.SpanKind.CONSUMER,
) -> Generator[Sequence[trace.Span]]:
    """A span for each event of a batch, in that event's own trace, open for the length of the block.

    Work in the block is done once for all of them; its spans go under the first event, to which the others link.

    Args:
        name: the spans' name.
        events: trace context and event id of each event, at least one; None where it has no id.
        attributes: what all spans carry.
        kind: of the spans.
    """
    if _PROCESS.quiet:
        context, _event_id = next(iter(events))
        quiet = _quiet_span(context)
        with trace.use_span(quiet):
            yield (quiet,)
        return
    spans: list[trace.Span] = []
    for context, event_id in events:
        links = [trace.Link(spans[0].get_span_context())] if spans else None
        own = attributes
        if event_id is not None:
            own = {**attributes, ATTRIBUTE_EVENT_ID: event_id, "messaging.message.id": event_id}
        spans.append(tracer().start_span(name, context=context, kind=kind, attributes=own, links=links))
    token = _BATCH.set(tuple(spans))
    try:
        with trace.use_span(spans[0], end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield spans
    finally:
        _BATCH.reset(token)
        for started in spans:
            started.end()


@contextmanager
def batch_step(
    name: str, attributes: Mapping[str, AttributeValue], kind: trace.SpanKind = trace.SpanKind.INTERNAL
) -> Generator[None]:
    """A step done once for the whole batch: a span of it in each event's trace, :data:`STEP_SPANS_MAX` at most.

    Outside a batch it is a plain :class:`span`.
    """
    batch = _BATCH.get()
    if not batch:
        with span(name, kind=kind, attributes=attributes):
            yield
        return
    steps: list[trace.Span] = []
    for parent in batch[:STEP_SPANS_MAX]:
        links = [trace.Link(steps[0].get_span_context())] if steps else None
        context = trace.set_span_in_context(parent, Context())
        steps.append(tracer().start_span(name, context=context, kind=kind, attributes=attributes, links=links))
    try:
        with trace.use_span(steps[0], end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield
    except Exception as error:
        for step in steps:
            _note_error(step, error)
        raise
    finally:
        for step in steps:
            step.end()


class Sending:
    """The span of a message on its way to the bus, between :func:`sending` and ``end``."""

    __slots__ = ("_span",)

    def __init__(self, started: trace.Span) -> None:
        self._span = started

    @classmethod
    def start(
        cls, headers: dict[str, str], name: str, attributes: Mapping[str, AttributeValue]
    ) -> tuple[Self | None, dict[str, str]]:
        """A producer span under the trace of ``headers``, and the headers that make it the consumers' parent."""
        if _PROCESS.quiet or "traceparent" not in headers:
            return None, headers
        if not _PROCESS.keeps and headers["traceparent"].endswith("-00"):
            return None, headers
        started = tracer().start_span(
            name, context=extract(headers), kind=trace.SpanKind.PRODUCER, attributes=attributes
        )
        traceparent = _traceparent(started.get_span_context())
        if not started.is_recording() or traceparent is None:
            return None, headers
        return cls(started), headers | {"traceparent": traceparent}

    def end(self, error: Exception | None = None) -> None:
        """Sent, or not."""
        if error is not None:
            _note_error(self._span, error)
        self._span.end()


def record_caller(
    service: str, name: str, caller: SpanContext, *, parent_span_id: int, started_at_ns: int, event_id: str
) -> None:
    """Record the span of a caller that exports none itself, under the ids it announced; it ends now.

    Args:
        service: the caller's name in the trace.
        name: the span's name.
        caller: the trace and span id it sent.
        parent_span_id: the span above it; 0 for none.
        started_at_ns: when it began, nanoseconds since 1970 UTC.
        event_id: the event it sent.
    """
    keeper = _PROCESS.keeper
    if keeper is None:
        return
    trace_id = caller.trace_id
    sampled = keeper.is_kept(trace_id) or (_PROCESS.rate is not None and _PROCESS.rate.takes(trace_id))
    parent = SpanContext(trace_id, parent_span_id, is_remote=True) if parent_span_id else None
    keeper.on_end(
        ReadableSpan(
            name,
            SpanContext(trace_id, caller.span_id, is_remote=False, trace_flags=_SAMPLED if sampled else _UNSAMPLED),
            parent,
            Resource.create({SERVICE_NAME: service, SERVICE_NAMESPACE: "hookbus"}),
            attributes={ATTRIBUTE_EVENT_ID: event_id},
            start_time=started_at_ns,
            end_time=max(time.time_ns(), started_at_ns),
        )
    )
