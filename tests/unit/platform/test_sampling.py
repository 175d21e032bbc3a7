"""Which spans leave a process: the share, kept traces, bounded waiting, and none at all where nothing exports."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags
from prometheus_client import REGISTRY

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform import exporting, sampling, telemetry
from hookbus.platform.exporting import BoundedSpanProcessor
from hookbus.platform.recording import RecordingTracer
from hookbus.platform.sampling import Keeper, Rate, RateSampler


@contextmanager
def process(
    ratio: float, *, keeps: bool = True, decides: bool = False
) -> Generator[tuple[RecordingTracer, InMemorySpanExporter, Keeper]]:
    """The tracer of one process, and what it has exported."""
    exported = InMemorySpanExporter()
    keeper = Keeper(SimpleSpanProcessor(exported))
    sampler = RateSampler(Rate(ratio), keeps=keeps, decides=decides)
    yield RecordingTracer(sampler, keeper, Resource.create({"service.name": "test"})), exported, keeper
    keeper.shutdown()


def remote(trace_id: int, *, sampled: bool) -> Context:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return trace.set_span_in_context(NonRecordingSpan(SpanContext(trace_id, 7, is_remote=True, trace_flags=flags)))


def names(exported: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exported.get_finished_spans()]


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.0, 0, 0), (0.1, 50, 150), (1.0, 1_000, 1_000)])
def test_the_share_is_near_the_ratio(ratio: float, low: int, high: int) -> None:
    rate = Rate(ratio)
    step = 0x9E3779B97F4A7C15
    assert low <= sum(rate.takes(number * step & (1 << 128) - 1) for number in range(1, 1_001)) <= high


def test_every_process_draws_alike_and_a_service_follows_the_edge() -> None:
    with process(0.0) as (tracer, exported, _), process(1.0, decides=True) as (edge, taken, _):
        tracer.start_span("followed", context=remote(1, sampled=True)).end()
        tracer.start_span("not followed", context=remote(2, sampled=False)).end()
        edge.start_span("decided", context=remote(3, sampled=False)).end()
    assert (names(exported), names(taken)) == (["followed"], ["decided"])


def test_a_caller_cannot_raise_the_share_at_the_edge() -> None:
    with process(0.0, decides=True) as (tracer, exported, _):
        tracer.start_span("asked for", context=remote(1, sampled=True)).end()
    assert names(exported) == []


def test_an_error_brings_what_waited_and_what_follows() -> None:
    with process(0.0) as (tracer, exported, keeper):
        context = remote(5, sampled=False)
        tracer.start_span("before", context=context).end()
        failed = tracer.start_span("failed", context=context)
        failed.set_status(StatusCode.ERROR)
        assert names(exported) == []
        failed.end()
        tracer.start_span("after", context=context).end()
        tracer.start_span("of another trace", context=remote(6, sampled=False)).end()
        assert names(exported) == ["before", "failed", "after"]
        assert all(span.context and span.context.trace_flags.sampled for span in exported.get_finished_spans())
        assert keeper.waiting == 1


def test_the_flag_of_a_later_message_brings_what_waited() -> None:
    """So the objection that one process finds reaches what another had recorded of the trace before."""
    with process(0.0) as (tracer, exported, _):
        tracer.start_span("asked", context=remote(8, sampled=False)).end()
        tracer.start_span("told", context=remote(8, sampled=True)).end()
    assert names(exported) == ["asked", "told"]


def test_without_keeping_nothing_outside_the_share_is_recorded() -> None:
    with process(0.0, keeps=False) as (tracer, _, keeper):
        span = tracer.start_span("dropped", context=remote(1, sampled=False))
        assert not span.is_recording()
        span.end()
        assert keeper.waiting == 0


def test_what_waits_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SPANS_WAITING_MAX", 10)
    monkeypatch.setattr(sampling, "TRACES_KEPT_MAX", 3)
    with process(0.0) as (tracer, exported, keeper):
        for trace_id in range(1, 31):
            tracer.start_span(str(trace_id), context=remote(trace_id, sampled=False)).end()
            assert keeper.waiting <= 10
        for trace_id in (1, 29, 30, 31, 32):
            keeper.keep(trace_id)
    assert names(exported) == ["29", "30"]
    assert [keeper.is_kept(trace_id) for trace_id in (1, 29, 30, 31, 32)] == [False, False, True, True, True]


class Stuck(SpanExporter):
    """A collector that takes nothing until it is let."""

    def __init__(self) -> None:
        self.result = SpanExportResult.FAILURE

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the signature is the library's
        return self.result


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_full_queue_drops_and_counts_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "SPAN_EXPORT_INTERVAL_MS", 3_600_000)
    full, failed = (
        value("hookbus_trace_spans_dropped_total", reason="queue_full"),
        value("hookbus_trace_spans_dropped_total", reason="export_failed"),
    )
    processor = BoundedSpanProcessor(Stuck(), queue_max=2_000)
    provider = TracerProvider()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("test")
    # Below the batch size nothing leaves the queue by itself: the library's thread wakes at a whole batch.
    monkeypatch.setattr(processor._batch_processor._worker_awaken, "set", lambda: None)  # pyright: ignore[reportPrivateUsage]
    for _ in range(2_100):
        tracer.start_span("span").end()
    assert value("hookbus_trace_spans_dropped_total", reason="queue_full") - full == 100
    monkeypatch.undo()
    processor.force_flush()
    assert value("hookbus_trace_spans_dropped_total", reason="export_failed") - failed == 2_000
    tracer.start_span("room again").end()
    assert value("hookbus_trace_spans_dropped_total", reason="queue_full") - full == 100
    provider.shutdown()


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process without an exporter."""
    monkeypatch.setattr(telemetry, "_PROCESS", telemetry._Process(quiet=True))  # pyright: ignore[reportPrivateUsage]


@pytest.mark.usefixtures("quiet")
def test_where_nothing_exports_ids_travel_and_nothing_is_recorded() -> None:
    traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    with telemetry.span("request", context=telemetry.extract({"traceparent": traceparent})) as span:
        assert not span.is_recording()
        assert telemetry.current_traceparent() == traceparent
        with telemetry.span("inner"):
            assert telemetry.inject({}) == {"traceparent": traceparent}
    with telemetry.span("new"):
        made = telemetry.current_trace_id()
        assert made.strip("0")
        with telemetry.span("inner"):
            assert telemetry.current_trace_id() == made


@pytest.mark.parametrize(
    ("error", "failed", "kind"),
    [
        (ProblemError(ProblemCode.NOT_FOUND, "secret"), False, "not_found"),
        (ProblemError(ProblemCode.UNAVAILABLE, "secret"), True, "unavailable"),
        (ValueError("secret"), True, "ValueError"),
    ],
)
def test_an_error_is_noted_without_its_text(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, failed: bool, kind: str
) -> None:
    with process(1.0) as (tracer, exported, _):
        made: Callable[[], RecordingTracer] = lambda: tracer  # noqa: E731 - the one line that stands for the process's own
        monkeypatch.setattr(telemetry, "tracer", made)
        with pytest.raises(type(error)), telemetry.span("work"):
            raise error
        (span,) = exported.get_finished_spans()
    assert (span.status.status_code is StatusCode.ERROR) == failed
    assert (span.attributes or {})["error.type"] == kind
    assert "secret" not in span.to_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
        "ff-" + "1" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16 + "-01\n",
        "00-" + "\u0661" * 32 + "-" + "1" * 16 + "-01",
    ],
)
def test_a_broken_header_carries_no_trace(text: str) -> None:
    context = trace.get_current_span(telemetry.extract({"traceparent": text})).get_span_context()
    assert not context.is_valid
    assert telemetry.extract(None) == telemetry.extract({}) == {}


def test_a_dropped_trace_is_passed_on_under_its_ids_without_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with process(0.0, keeps=False) as (tracer, exported, _):
        monkeypatch.setattr(telemetry, "tracer", lambda: tracer)
        given = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
        with telemetry.span("outer", context=telemetry.extract({"traceparent": given})) as outer:
            with telemetry.span("inner") as inner:
                assert inner is outer
            passed = telemetry.inject({})["traceparent"]
            assert (passed[:35], passed[-2:]) == (given[:35], "00")
            assert telemetry.Sending.start({"traceparent": passed}, "publish", {}) == (None, {"traceparent": passed})
    assert names(exported) == []
