"""Spans out by OTLP, over HTTP or gRPC: one bounded queue, filled without waiting, emptied by a thread."""

from collections.abc import Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import Counter

from hookbus.platform.settings import OtlpProtocol

SPAN_QUEUE_MAX: Final = 8_192
"""Spans that wait for export; beyond it they are dropped and counted, never waited for."""
SPAN_BATCH_MAX: Final = 512
SPAN_EXPORT_INTERVAL_MS: Final = 500
EXPORT_TIMEOUT_S: Final = 5

SPANS_EXPORTED: Final = Counter("hookbus_trace_spans_exported_total", "Spans that the collector took")
SPANS_DROPPED: Final = Counter("hookbus_trace_spans_dropped_total", "Spans that were not exported", ("reason",))
for _reason in ("queue_full", "export_failed"):
    SPANS_DROPPED.labels(_reason)


class CountedExporter(SpanExporter):
    """Counts what another exporter could not deliver."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = 0
        """Spans that left the queue."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver one batch; it is dropped where that fails within the exporter's own retries."""
        self.taken += len(spans)
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            SPANS_EXPORTED.inc(len(spans))
        else:
            SPANS_DROPPED.labels("export_failed").inc(len(spans))
        return result

    def shutdown(self) -> None:
        """End."""
        self._exporter.shutdown()


class BoundedSpanProcessor(BatchSpanProcessor):
    """The library's batches, with the spans that found the queue full counted."""

    def __init__(self, exporter: SpanExporter, *, queue_max: int = SPAN_QUEUE_MAX) -> None:
        self._queue_max = queue_max
        self._queued = 0
        self._counted = CountedExporter(exporter)
        super().__init__(
            self._counted,
            # The library drops without a count: its own bound, above this one, is never met.
            max_queue_size=2 * queue_max,
            max_export_batch_size=min(SPAN_BATCH_MAX, queue_max),
            schedule_delay_millis=SPAN_EXPORT_INTERVAL_MS,
            export_timeout_millis=EXPORT_TIMEOUT_S * 1_000,
        )

    def on_end(self, span: ReadableSpan) -> None:
        """Queue, never wait."""
        if self._queued - self._counted.taken >= self._queue_max:
            SPANS_DROPPED.labels("queue_full").inc()
            return
        self._queued += 1
        super().on_end(span)


def span_exporter(endpoint: str, protocol: OtlpProtocol) -> SpanExporter:
    """An exporter to a collector's base address."""
    if protocol is OtlpProtocol.GRPC:
        # Loaded where it is used: gRPC's library takes 0.2 s and 20 MB that most processes can do without.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter  # noqa: PLC0415 - see above

        return GrpcSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=EXPORT_TIMEOUT_S)
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
