"""``POST /otlp/v1/logs|metrics|traces``: an agent's own OpenTelemetry export, OTLP over HTTP.

Log records that report a model call become ``usage`` events. Everything else is taken and left: an exporter that is
refused would fill its agent's log with complaints.
"""

import asyncio
import zlib
from collections import Counter
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hookbus.contracts import limits
from hookbus.contracts.events import MEDIA_TYPE_JSON, Event
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.gateway import bodies, metrics
from hookbus.gateway.intake import EVENTS_BETWEEN_YIELDS, Intake, message_of
from hookbus.gateway.otlp.records import LogRecord, from_json, from_protobuf
from hookbus.gateway.otlp.usage import Defaults, usage_of
from hookbus.gateway.plain import PlainRoute
from hookbus.gateway.state import state_of

PATH_LOGS: Final = "/otlp/v1/logs"
PATH_METRICS: Final = "/otlp/v1/metrics"
PATH_TRACES: Final = "/otlp/v1/traces"
MEDIA_TYPE_PROTOBUF: Final = "application/x-protobuf"
MEDIA_TYPES: Final = (MEDIA_TYPE_PROTOBUF, MEDIA_TYPE_JSON)
INFLATED_BYTES_MAX: Final = limits.BATCH_BYTES_MAX
"""What a compressed body may grow to: no more than an uncompressed one may be."""
INLINE_BYTES_MAX: Final = bodies.PARSE_INLINE_BYTES_MAX
HEADER_AGENT: Final = "x-hookbus-agent"
HEADER_PROJECT: Final = "x-hookbus-project"
_GZIP_WINDOW_BITS: Final = 16 + zlib.MAX_WBITS


async def post_logs(request: Request) -> Response:
    """200 once every usage report is stored; ``partialSuccess`` counts those that could not be."""
    state = state_of(request)
    principal = await state.authenticator.principal(request, KeyScope.EVENTS)
    media_type = _media_type(request)
    state.peers.check_connected()
    body = await _read(request)
    records = await _records(media_type, body)
    events, refused = await _events(
        state.intake(request), records, Defaults(*map(request.headers.get, (HEADER_AGENT, HEADER_PROJECT)))
    )
    if events:
        state.limit_events(principal, Counter(event.subject for event in events))
        await state.hooks.store_all([message_of(event, event.traceparent) for event in events])
        for event in events:
            metrics.EVENTS_ACCEPTED.labels(event.kind or "").inc()
    return _reply(media_type, refused)


async def post_other(request: Request) -> Response:
    """Metrics and traces: taken, and left."""
    state = state_of(request)
    await state.authenticator.principal(request, KeyScope.EVENTS)
    media_type = _media_type(request)
    body = await _read(request)
    if media_type == MEDIA_TYPE_JSON and not isinstance(await bodies.parse(body), dict):
        raise ProblemError(ProblemCode.BODY_INVALID, "an OTLP request is a JSON object")
    return _reply(media_type, [])


def routes() -> list[PlainRoute]:
    """All routes of this file."""
    return [
        PlainRoute(PATH_LOGS, post_logs, methods=["POST"]),
        PlainRoute(PATH_METRICS, post_other, methods=["POST"]),
        PlainRoute(PATH_TRACES, post_other, methods=["POST"]),
    ]


async def _records(media_type: str, body: bytes) -> list[LogRecord]:
    """The records of a body; a large one is read beside the event loop."""
    inline = len(body) <= INLINE_BYTES_MAX
    if media_type == MEDIA_TYPE_PROTOBUF:
        return from_protobuf(body) if inline else await asyncio.to_thread(from_protobuf, body)
    tree = await bodies.parse(body)
    return from_json(tree) if inline else await asyncio.to_thread(from_json, tree)


async def _events(intake: Intake, records: list[LogRecord], defaults: Defaults) -> tuple[list[Event], list[str]]:
    """The usage events of the records, and why the others of them were refused."""
    events: list[Event] = []
    refused: list[str] = []
    for index, record in enumerate(records):
        if index % EVENTS_BETWEEN_YIELDS == EVENTS_BETWEEN_YIELDS - 1:
            await asyncio.sleep(0)
        short = usage_of(record, defaults)
        if short is None:
            continue
        try:
            events.append(intake.event(short, cloudevent=False))
        except ProblemError as error:
            first = f": {error.problem.errors[0].loc}: {error.problem.errors[0].msg}" if error.problem.errors else ""
            refused.append(f"{error.problem.detail}{first}")
            metrics.EVENTS_REJECTED.labels(error.problem.code).inc()
    return events, refused


def _media_type(request: Request) -> str:
    name = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if name not in MEDIA_TYPES:
        bodies.unsupported(f"the body must be one of {', '.join(MEDIA_TYPES)}")
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("identity", "gzip"):
        bodies.unsupported("the only content encoding is gzip")
    return name


async def _read(request: Request) -> bytes:
    body = await bodies.read(request, limits.BATCH_BYTES_MAX)
    if request.headers.get("content-encoding", "identity").strip().lower() == "identity":
        return body
    return await asyncio.to_thread(inflate, body, INFLATED_BYTES_MAX)


def inflate(body: bytes, bytes_max: int) -> bytes:
    """The content of one gzip member, at most ``bytes_max`` bytes of it.

    Raises:
        ProblemError: ``body_invalid`` where it is no whole gzip member, ``too_large``.
    """
    inflater = zlib.decompressobj(_GZIP_WINDOW_BITS)
    try:
        content = inflater.decompress(body, bytes_max + 1)
    except zlib.error:
        raise ProblemError(ProblemCode.BODY_INVALID, "the body is not gzip") from None
    if len(content) > bytes_max:
        raise ProblemError(ProblemCode.TOO_LARGE, f"the body is over {bytes_max} bytes when unpacked")
    if not inflater.eof:
        raise ProblemError(ProblemCode.BODY_INVALID, "the gzip body ends early")
    return content


def _reply(media_type: str, refused: list[str]) -> Response:
    if media_type == MEDIA_TYPE_JSON:
        if not refused:
            return JSONResponse({})
        return JSONResponse({"partialSuccess": {"rejectedLogRecords": str(len(refused)), "errorMessage": refused[0]}})
    reply = ExportLogsServiceResponse()
    if refused:
        reply.partial_success.rejected_log_records = len(refused)
        reply.partial_success.error_message = refused[0]
    return Response(reply.SerializeToString(), media_type=MEDIA_TYPE_PROTOBUF)
