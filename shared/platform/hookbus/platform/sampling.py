"""Which traces leave the process: a share of all, and whatever ended in an objection or an error.

The rate is drawn from the trace id, so that every process draws alike. A span outside the share is recorded all the
same and waits here, unexported; where its trace turns out to matter, what waited is sent and the trace carries the
sampled flag from then on, so that the next process sends what waits there (docs/decisions/0080-kept-traces.md).
"""

import threading
from collections import OrderedDict
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

SPANS_WAITING_MAX: Final = 8_192
"""Spans outside the share that wait for their trace's verdict; beyond it the oldest trace is forgotten."""
TRACES_KEPT_MAX: Final = 8_192
"""Traces of which this process remembers that they are kept."""
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_ID_BITS: Final = 64
_ID_MASK: Final = (1 << _ID_BITS) - 1


class Rate:
    """The share of traces that is exported, by the low half of their ids."""

    def __init__(self, ratio: float) -> None:
        self._bound = round(ratio * (1 << _ID_BITS))

    def takes(self, trace_id: int) -> bool:
        """Whether the trace belongs to the share."""
        return trace_id & _ID_MASK < self._bound


class RateSampler:
    """Samples a share of traces; records the rest where ``keeps``, so that an objection in it can still be kept.

    Args:
        rate: the share.
        keeps: whether spans outside the share are recorded.
        decides: whether a remote parent's own flag is ignored, as at the edge, where callers must not raise the cost.
    """

    def __init__(self, rate: Rate, *, keeps: bool, decides: bool) -> None:
        self._rate = rate
        self._outside = Decision.RECORD_ONLY if keeps else Decision.DROP
        self._decides = decides

    def decide(self, parent_span: trace.Span, trace_id: int) -> Decision:
        """Whether a span below ``parent_span`` is recorded, and whether it is exported without asking further."""
        parent = parent_span.get_span_context()
        if parent.is_valid and not parent.is_remote and not parent_span.is_recording():
            return Decision.DROP
        follows = parent.is_valid and not (parent.is_remote and self._decides)
        sampled = parent.trace_flags.sampled if follows else self._rate.takes(trace_id)
        return Decision.RECORD_AND_SAMPLE if sampled else self._outside


class Keeper:
    """Passes sampled spans on, and holds the others back until their trace is kept or forgotten."""

    def __init__(self, onward: SpanProcessor) -> None:
        self._onward = onward
        self._lock = threading.Lock()
        self._waiting: OrderedDict[int, list[ReadableSpan]] = OrderedDict()
        self._waiting_spans = 0
        self._kept: OrderedDict[int, None] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many spans wait for a verdict."""
        return self._waiting_spans

    def is_kept(self, trace_id: int) -> bool:
        """Whether the trace was found to matter in this process."""
        return trace_id in self._kept

    def keep(self, trace_id: int) -> None:
        """Export what waits of the trace, and all that is to come."""
        with self._lock:
            self._kept[trace_id] = None
            while len(self._kept) > TRACES_KEPT_MAX:
                self._kept.popitem(last=False)
            freed = self._waiting.pop(trace_id, [])
            self._waiting_spans -= len(freed)
        for span in freed:
            self._onward.on_end(_as_sampled(span))

    def on_start(self, context: SpanContext) -> None:
        """A sampled span of a trace that waits: another process has found that it matters."""
        if context.trace_flags.sampled and context.trace_id in self._waiting:
            self.keep(context.trace_id)

    def on_end(self, span: ReadableSpan) -> None:
        """Export, or hold back."""
        context = span.context
        if context is None:
            return
        if context.trace_flags.sampled:
            self._onward.on_end(span)
        elif context.trace_id in self._kept:
            self._onward.on_end(_as_sampled(span))
        else:
            self._hold_back(context.trace_id, span)
            if span.status.status_code is StatusCode.ERROR:
                self.keep(context.trace_id)

    def _hold_back(self, trace_id: int, span: ReadableSpan) -> None:
        with self._lock:
            self._waiting.setdefault(trace_id, []).append(span)
            self._waiting_spans += 1
            while self._waiting_spans > SPANS_WAITING_MAX:
                _oldest, forgotten = self._waiting.popitem(last=False)
                self._waiting_spans -= len(forgotten)

    def shutdown(self) -> None:
        """Export what was passed on; forget what waits."""
        self._onward.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Export what was passed on, now."""
        return self._onward.force_flush(timeout_millis)


def _as_sampled(span: ReadableSpan) -> ReadableSpan:
    context = span.context
    assert context is not None, "an ended span has a context"
    return ReadableSpan(
        name=span.name,
        context=SpanContext(context.trace_id, context.span_id, context.is_remote, _SAMPLED, context.trace_state),
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
