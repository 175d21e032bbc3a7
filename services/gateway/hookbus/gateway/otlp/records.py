"""OTLP log records in one shape, whether they came as protobuf or as JSON.

Of a record only what a usage report can need is kept: its names, its time and its plain attributes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway.strict_json import JsonTree

RECORDS_MAX: Final = 10_000
"""Log records of one request."""
GROUPS_MAX: Final = 10_000
"""Resources and scopes of one request together, with records or without."""
ATTRIBUTES_MAX: Final = 256
"""Attributes read of one record."""

Plain = str | int | float | bool
Attributes = Mapping[str, Plain]


@dataclass(frozen=True)
class LogRecord:
    """One log record with the attributes of its resource."""

    names: frozenset[str]
    """What the record calls itself: its event name, its ``event.name`` attribute, its body where that is a text."""
    time_unix_ns: int
    """When it happened; 0 where the record does not say."""
    attributes: Attributes
    resource: Attributes


def from_protobuf(body: bytes) -> list[LogRecord]:
    """The records of an ``ExportLogsServiceRequest``.

    Raises:
        ProblemError: ``body_invalid``, ``too_large``.
    """
    request = ExportLogsServiceRequest()
    try:
        request.ParseFromString(body)
    except Exception as error:  # protobuf's DecodeError has another home in each of its implementations
        raise ProblemError(ProblemCode.BODY_INVALID, "the body is not an OTLP logs request") from error
    records: list[LogRecord] = []
    groups = len(request.resource_logs)
    _check_groups(groups)
    for resource_logs in request.resource_logs:
        groups += len(resource_logs.scope_logs)
        _check_groups(groups)
        resource = _plain_of_protobuf(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            _check_room(len(records) + len(scope_logs.log_records))
            for record in scope_logs.log_records:
                attributes = _plain_of_protobuf(record.attributes)
                names = _names(record.event_name, attributes, record.body.string_value)
                time_unix_ns = record.time_unix_nano or record.observed_time_unix_nano
                records.append(LogRecord(names, time_unix_ns, attributes, resource))
    return records


def from_json(tree: JsonTree) -> list[LogRecord]:
    """The records of a request in OTLP's JSON encoding.

    Raises:
        ProblemError: ``body_invalid``, ``too_large``.
    """
    if not isinstance(tree, dict):
        raise ProblemError(ProblemCode.BODY_INVALID, "an OTLP request is a JSON object")
    records: list[LogRecord] = []
    resources = _list(tree.get("resourceLogs"))
    groups = len(resources)
    _check_groups(groups)
    for resource_logs in _objects(resources):
        scopes = _list(resource_logs.get("scopeLogs"))
        groups += len(scopes)
        _check_groups(groups)
        resource = _plain_of_json(_object(resource_logs.get("resource")).get("attributes"))
        for scope_logs in _objects(scopes):
            listed = _list(scope_logs.get("logRecords"))
            _check_room(len(records) + len(listed))
            for record in _objects(listed):
                attributes = _plain_of_json(record.get("attributes"))
                text = _object(record.get("body")).get("stringValue")
                names = _names(record.get("eventName"), attributes, text)
                time_unix_ns = _integer(record.get("timeUnixNano")) or _integer(record.get("observedTimeUnixNano"))
                records.append(LogRecord(names, time_unix_ns or 0, attributes, resource))
    return records


def _check_room(count: int) -> None:
    if count > RECORDS_MAX:
        raise ProblemError(ProblemCode.TOO_LARGE, f"the request holds over {RECORDS_MAX} log records")


def _check_groups(count: int) -> None:
    if count > GROUPS_MAX:
        raise ProblemError(ProblemCode.TOO_LARGE, f"the request holds over {GROUPS_MAX} resources and scopes")


def _names(event_name: object, attributes: Attributes, body: object) -> frozenset[str]:
    given = (event_name, attributes.get("event.name"), body)
    return frozenset(name for name in given if isinstance(name, str) and name)


def _plain_of_protobuf(pairs: Iterable[KeyValue]) -> dict[str, Plain]:
    plain: dict[str, Plain] = {}
    for pair in pairs:
        if len(plain) >= ATTRIBUTES_MAX:
            break
        match pair.value.WhichOneof("value"):
            case "string_value":
                plain[pair.key] = pair.value.string_value
            case "int_value":
                plain[pair.key] = pair.value.int_value
            case "double_value":
                plain[pair.key] = pair.value.double_value
            case "bool_value":
                plain[pair.key] = pair.value.bool_value
            case _:
                continue
    return plain


def _plain_of_json(pairs: JsonTree) -> dict[str, Plain]:
    plain: dict[str, Plain] = {}
    for pair in _objects(_list(pairs)[:ATTRIBUTES_MAX]):
        key, value = pair.get("key"), _object(pair.get("value"))
        if not isinstance(key, str):
            continue
        for field in ("stringValue", "boolValue", "doubleValue"):
            given = value.get(field)
            if isinstance(given, (str, bool, float, int)):
                plain[key] = given
        whole = _integer(value.get("intValue"))
        if whole is not None:
            plain[key] = whole
    return plain


def _integer(value: JsonTree) -> int | None:
    """A 64-bit integer, which OTLP's JSON writes as a text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit() and len(value) <= 20:
        return int(value)
    return None


def _object(value: JsonTree) -> dict[str, JsonTree]:
    return value if isinstance(value, dict) else {}


def _list(value: JsonTree) -> list[JsonTree]:
    return value if isinstance(value, list) else []


def _objects(items: list[JsonTree]) -> list[dict[str, JsonTree]]:
    return [item for item in items if isinstance(item, dict)]
