"""The one place that wires the trace store."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hookbus.contracts.problems import STATUS_BY_CODE, ProblemCode, ProblemError
from hookbus.contracts.traces import TraceListRequest, TraceRequest
from hookbus.embedded.traces.bodies import BODY_BYTES_MAX, MEDIA_TYPE, export_of
from hookbus.embedded.traces.handlers import Traces
from hookbus.embedded.traces.settings import TracesSettings
from hookbus.platform import health
from hookbus.platform.bus.checks import bus_check
from hookbus.platform.bus.connection import create_broker
from hookbus.platform.bus.rpc import RpcServer
from hookbus.platform.database.engine import Database
from hookbus.platform.service import Service, run, serving
from hookbus.platform.settings import load

SERVICE: Final = "traces"
PRUNE_INTERVAL_S: Final = 60.0


class Wiring:
    """The trace store's parts: built once telemetry is up, then put behind HTTP."""

    def __init__(self, settings: TracesSettings) -> None:
        self._settings = settings
        self._traces: Traces | None = None

    def build(self) -> Service:
        """The service, wired and not yet connected."""
        settings = self._settings
        broker = create_broker(SERVICE, settings)
        database = Database(SERVICE, settings)
        traces = self._traces = Traces(database, age_max=settings.age_max, spans_max=settings.traces_spans_max)
        server = RpcServer(broker, SERVICE)
        server.method("get", TraceRequest, traces.get)
        server.method("list", TraceListRequest, traces.list)

        async def prune_forever() -> None:
            while True:
                await traces.prune()
                await asyncio.sleep(PRUNE_INTERVAL_S)

        return Service(
            SERVICE,
            broker,
            checks=(bus_check(broker), health.Check("postgres", database.ping)),
            on_stop=(database.close,),
            tasks=(prune_forever,),
        )

    def application(self, service: Service) -> Starlette:
        """Probes, and ``POST /v1/traces`` as an OTLP/HTTP exporter sends it. Call after ``build``."""

        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
            async with serving(service):
                yield

        return Starlette(
            routes=[*health.routes(service.checks), Route("/v1/traces", self._receive, methods=["POST"])],
            lifespan=lifespan,
        )

    async def _receive(self, request: Request) -> Response:
        assert self._traces is not None, "build comes first"
        try:
            export = export_of(
                await _body_of(request),
                content_type=request.headers.get("content-type", ""),
                content_encoding=request.headers.get("content-encoding", ""),
            )
            refused = await self._traces.take(export)
        except ProblemError as error:
            return _refusal(error)
        answer = ExportTraceServiceResponse()
        if refused:
            answer.partial_success.rejected_spans = refused
            answer.partial_success.error_message = "an id or a time that cannot be"
        return Response(answer.SerializeToString(), media_type=MEDIA_TYPE)


async def _body_of(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise ProblemError(ProblemCode.TOO_LARGE, f"over {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _refusal(error: ProblemError) -> Response:
    headers: dict[str, str] = {}
    if error.problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.problem.retry_after_s)))
    return Response(error.problem.detail, STATUS_BY_CODE[error.problem.code], headers, media_type="text/plain")


def main() -> None:
    """Run until SIGTERM."""
    settings = load(TracesSettings)
    wiring = Wiring(settings)
    run(SERVICE, settings, wiring.build, wiring.application)
