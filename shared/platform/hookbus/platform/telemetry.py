"""OpenTelemetry: one W3C trace from the hook through HTTP and the bus into each service and its SQL.

Spans leave by OTLP/HTTP through a bounded queue that drops rather than blocks; metrics are read at ``/metrics`` and,
where an endpoint is set, pushed as well.
"""

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Final

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from hookbus.platform.settings import ServiceSettings

ATTRIBUTE_EVENT_ID: Final = "hookbus.event_id"
ATTRIBUTE_AGENT_ID: Final = "hookbus.agent_id"

SPAN_QUEUE_MAX: Final = 8_192
"""Spans that wait for export; beyond it they are dropped, never waited for."""
SPAN_BATCH_MAX: Final = 512
SPAN_EXPORT_INTERVAL_MS: Final = 500
EXPORT_TIMEOUT_S: Final = 5
METRIC_EXPORT_INTERVAL_MS: Final = 15_000

_INSTRUMENTATION_NAME: Final = "hookbus"
_PROPAGATOR: Final[TextMapPropagator] = TraceContextTextMapPropagator()


class Telemetry:
    """The providers of one process. Create once, before the first span; close last."""

    def __init__(self, service: str, settings: ServiceSettings) -> None:
        resource = Resource.create({SERVICE_NAME: service, SERVICE_NAMESPACE: "hookbus"})
        sampler = ParentBased(TraceIdRatioBased(settings.trace_sample_ratio))
        self._tracer_provider = TracerProvider(resource=resource, sampler=sampler)
        readers: list[MetricReader] = [PrometheusMetricReader()]
        if settings.otlp_endpoint is not None:
            base = settings.otlp_endpoint.rstrip("/")
            self._tracer_provider.add_span_processor(
                BatchSpanProcessor(
                    OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=EXPORT_TIMEOUT_S),
                    max_queue_size=SPAN_QUEUE_MAX,
                    max_export_batch_size=SPAN_BATCH_MAX,
                    schedule_delay_millis=SPAN_EXPORT_INTERVAL_MS,
                    export_timeout_millis=EXPORT_TIMEOUT_S * 1_000,
                )
            )
            if settings.otlp_metrics:
                readers.append(
                    PeriodicExportingMetricReader(
                        OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=EXPORT_TIMEOUT_S),
                        export_interval_millis=METRIC_EXPORT_INTERVAL_MS,
                    )
                )
        self._meter_provider = MeterProvider(metric_readers=readers, resource=resource)
        trace.set_tracer_provider(self._tracer_provider)
        metrics.set_meter_provider(self._meter_provider)
        propagate.set_global_textmap(_PROPAGATOR)

    def close(self) -> None:
        """Export what waits, within the export timeout."""
        self._tracer_provider.shutdown()
        self._meter_provider.shutdown()


@cache
def tracer() -> trace.Tracer:
    """The process's tracer; a no-op one until telemetry is started. Kept: looking it up costs more than a span."""
    return trace.get_tracer(_INSTRUMENTATION_NAME)


def meter() -> metrics.Meter:
    """The process's meter."""
    return metrics.get_meter(_INSTRUMENTATION_NAME)


def extract(headers: Mapping[str, str] | None) -> Context:
    """The trace context that ``headers`` carry (W3C ``traceparent``), or an empty one."""
    return _PROPAGATOR.extract(dict(headers or {}), context=Context())


def inject(headers: dict[str, str]) -> dict[str, str]:
    """Add the current span's ``traceparent`` to ``headers`` and return them."""
    _PROPAGATOR.inject(headers)
    return headers


def current_trace_id() -> str:
    """The current trace id as 32 hex digits; all zeros outside a trace."""
    return trace.format_trace_id(trace.get_current_span().get_span_context().trace_id)


def current_traceparent() -> str | None:
    """The current span as a ``traceparent``, or None outside a trace."""
    return inject({}).get("traceparent")


@contextmanager
def batch_spans(
    name: str, events: Iterable[tuple[Context, str]], attributes: Mapping[str, AttributeValue]
) -> Generator[None]:
    """A consumer span for each event of a batch, in that event's own trace, open for the length of the block.

    Work in the block is done once for all of them; its spans go under the first event, to which the others link.

    Args:
        name: the spans' name.
        events: trace context and event id of each event, at least one.
        attributes: what all spans carry.
    """
    spans: list[trace.Span] = []
    for context, event_id in events:
        links = [trace.Link(spans[0].get_span_context())] if spans else None
        spans.append(
            tracer().start_span(
                name,
                context=context,
                kind=trace.SpanKind.CONSUMER,
                attributes={**attributes, ATTRIBUTE_EVENT_ID: event_id},
                links=links,
            )
        )
    try:
        with trace.use_span(spans[0], end_on_exit=False):
            yield
    finally:
        for started in spans:
            started.end()


@contextmanager
def span(
    name: str,
    *,
    kind: trace.SpanKind = trace.SpanKind.INTERNAL,
    context: Context | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Generator[trace.Span]:
    """A span around a block; an exception marks it as failed and passes on."""
    with tracer().start_as_current_span(name, context=context, kind=kind, attributes=attributes) as current:
        yield current
