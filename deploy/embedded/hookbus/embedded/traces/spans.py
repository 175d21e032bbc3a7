"""What a span is here, and how one is read from OTLP: pure, every text and list bounded."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2
from pydantic import JsonValue

from hookbus.contracts.traces import Span, SpanKind, SpanStatus

NAME_CHARS_MAX: Final = 256
VALUE_CHARS_MAX: Final = 1_024
ATTRIBUTES_MAX: Final = 64
ITEMS_MAX: Final = 32
"""Elements kept of an attribute that is a list."""
DURATION_US_MAX: Final = 7 * 86_400 * 1_000_000

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
EVENT_ID_ATTRIBUTE: Final = "hookbus.event_id"
SERVICE_ATTRIBUTE: Final = "service.name"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_NS_MAX: Final = 4_102_444_800 * 10**9
"""The year 2100: a time beyond it is a fault of the sender's clock."""

_KINDS: Final = {
    trace_pb2.Span.SPAN_KIND_INTERNAL: SpanKind.INTERNAL,
    trace_pb2.Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}
_STATUSES: Final = {
    trace_pb2.Status.STATUS_CODE_OK: SpanStatus.OK,
    trace_pb2.Status.STATUS_CODE_ERROR: SpanStatus.ERROR,
}


def spans_of(export: ExportTraceServiceRequest) -> tuple[list[Span], int]:
    """The spans of one export, and how many were refused for an id or a time that cannot be."""
    kept: list[Span] = []
    refused = 0
    for resource_spans in export.resource_spans:
        service = _service_of(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            for raw in scope_spans.spans:
                if _is_possible(raw):
                    kept.append(_span_of(raw, service))
                else:
                    refused += 1
    return kept, refused


def _is_possible(raw: trace_pb2.Span) -> bool:
    return (
        len(raw.trace_id) == TRACE_ID_BYTES
        and any(raw.trace_id)
        and len(raw.span_id) == SPAN_ID_BYTES
        and any(raw.span_id)
        and len(raw.parent_span_id) in {0, SPAN_ID_BYTES}
        and 0 < raw.start_time_unix_nano < _TIME_NS_MAX
    )


def _span_of(raw: trace_pb2.Span, service: str) -> Span:
    attributes = _attributes_of(raw.attributes)
    event_id = attributes.get(EVENT_ID_ATTRIBUTE)
    duration_us = (raw.end_time_unix_nano - raw.start_time_unix_nano) // 1_000
    return Span(
        trace_id=raw.trace_id.hex(),
        span_id=raw.span_id.hex(),
        parent_span_id=raw.parent_span_id.hex() if any(raw.parent_span_id) else None,
        service=service,
        name=_text(raw.name, NAME_CHARS_MAX),
        kind=_KINDS.get(raw.kind, SpanKind.UNSPECIFIED),
        started_at=_EPOCH + timedelta(microseconds=raw.start_time_unix_nano // 1_000),
        duration_us=min(max(duration_us, 0), DURATION_US_MAX),
        status=_STATUSES.get(raw.status.code, SpanStatus.UNSET),
        status_message=_text(raw.status.message, VALUE_CHARS_MAX),
        event_id=event_id if isinstance(event_id, str) else None,
        attributes=attributes,
    )


def _service_of(attributes: Iterable[KeyValue]) -> str:
    for attribute in attributes:
        if attribute.key == SERVICE_ATTRIBUTE:
            return _text(attribute.value.string_value, NAME_CHARS_MAX)
    return ""


def _attributes_of(attributes: Iterable[KeyValue]) -> dict[str, JsonValue]:
    kept: dict[str, JsonValue] = {}
    for attribute in attributes:
        if len(kept) == ATTRIBUTES_MAX:
            break
        kept[_text(attribute.key, NAME_CHARS_MAX)] = _value_of(attribute.value)
    return kept


def _value_of(value: AnyValue) -> JsonValue:
    match value.WhichOneof("value"):
        case "string_value":
            return _text(value.string_value, VALUE_CHARS_MAX)
        case "bool_value":
            return value.bool_value
        case "int_value":
            return value.int_value
        case "double_value":
            # As text where JSON has no such number.
            number = value.double_value
            return number if number - number == 0 else str(number)
        case "array_value":
            # One level: a list inside a list is left out, so that the depth is bounded.
            return [
                _value_of(item)
                for item in value.array_value.values[:ITEMS_MAX]
                if item.WhichOneof("value") not in {"array_value", "kvlist_value"}
            ]
        case _:
            return None  # bytes and maps: no part of hookbus sends them


def _text(text: str, chars_max: int) -> str:
    # PostgreSQL stores no NUL in a text.
    return text[:chars_max].replace("\x00", "\ufffd")
