"""The trace store on real servers: what an OpenTelemetry exporter sends comes back by event and by trace."""

import asyncio
import gzip
import os
import time
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta
from typing import TypeVar

import asyncpg
import httpx
import pytest
from nats.aio.client import Client
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture

from hookbus.contracts import subjects
from hookbus.contracts.problems import Problem, ProblemCode
from hookbus.contracts.traces import (
    SpanKind,
    SpanStatus,
    TraceListReply,
    TraceListRequest,
    TraceReply,
    TraceRequest,
)
from hookbus.embedded.traces import repository
from hookbus.embedded.traces.bodies import BODY_BYTES_MAX, MEDIA_TYPE
from hookbus.platform.database.migrate import upgrade

RPC_TIMEOUT_S = 5

ReplyT = TypeVar("ReplyT", bound=BaseModel)


@pytest.fixture(scope="module")
async def store(
    tmp_path_factory: pytest.TempPathFactory, nats_server: NatsFixture, postgres_server: PostgresFixture
) -> AsyncGenerator[ServiceProcess]:
    await asyncio.to_thread(upgrade, "hookbus.embedded.traces", postgres_server.owner_url, "traces")
    running = ServiceProcess.prepare(
        "hookbus.embedded.traces", "traces", tmp_path_factory.mktemp("traces"), nats_server, postgres_server
    )
    running.start()
    try:
        await asyncio.to_thread(running.wait_ready)
        yield running
    finally:
        running.stop()


@pytest.fixture
async def gateway(nats_server: NatsFixture) -> AsyncGenerator[Client]:
    client = await nats_server.connect("gateway")
    yield client
    await client.close()


class Recording(SpanExporter):
    """Keeps what would be exported."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans.extend(spans)
        return SpanExportResult.SUCCESS


def traced(event_id: str, *, fails: bool = False) -> list[ReadableSpan]:
    """Three spans of one trace, as a gateway and a service make them."""
    recording = Recording()
    provider = TracerProvider(resource=Resource.create({"service.name": "gateway"}))
    provider.add_span_processor(SimpleSpanProcessor(recording))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span("POST /api/v1/decide") as root:
        root.set_attributes({"hookbus.event_id": event_id, "big": 2**53, "list": ["a", "b"], "nul": "a\x00b"})
        with tracer.start_as_current_span("rpc.session.assess request"):
            pass
        with tracer.start_as_current_span("rpc.budget.check request") as last:
            if fails:
                last.set_status(StatusCode.ERROR, "broken")
    return recording.spans


async def export(store: ServiceProcess, spans: list[ReadableSpan]) -> None:
    exporter = OTLPSpanExporter(endpoint=f"{store.url}/v1/traces", timeout=5)
    assert await asyncio.to_thread(exporter.export, spans) is SpanExportResult.SUCCESS


async def ask(client: Client, method: str, request: BaseModel, reply: type[ReplyT]) -> ReplyT | Problem:
    message = await client.request(f"rpc.traces.{method}", request.model_dump_json().encode(), timeout=RPC_TIMEOUT_S)
    if subjects.HEADER_SERVICE_ERROR_CODE in (message.headers or {}):
        return Problem.model_validate_json(message.data)
    return reply.model_validate_json(message.data)


def new_event_id(name: str) -> str:
    return f"{name}-{os.getpid()}-{time.monotonic_ns()}"


async def test_an_event_gives_its_trace_back(store: ServiceProcess, gateway: Client) -> None:
    event_id = new_event_id("waterfall")
    spans = traced(event_id, fails=True)
    await export(store, spans)
    found = await ask(gateway, "get", TraceRequest(event_id=event_id), TraceReply)
    assert isinstance(found, TraceReply)
    assert [span.name for span in found.spans] == [
        "POST /api/v1/decide",
        "rpc.session.assess request",
        "rpc.budget.check request",
    ]
    root, first, second = found.spans
    assert root.parent_span_id is None
    assert {first.parent_span_id, second.parent_span_id} == {root.span_id}
    assert root.event_id == event_id
    assert root.service == "gateway"
    assert root.kind is SpanKind.INTERNAL
    assert root.attributes == {"hookbus.event_id": event_id, "big": 2**53, "list": ["a", "b"], "nul": "a\ufffdb"}
    assert second.status is SpanStatus.ERROR
    assert second.status_message == "broken"
    assert root.duration_us >= first.duration_us + second.duration_us
    by_trace = await ask(gateway, "get", TraceRequest(trace_id=found.trace_id), TraceReply)
    assert by_trace == found


async def test_a_repeated_export_changes_nothing(store: ServiceProcess, gateway: Client) -> None:
    event_id = new_event_id("repeated")
    spans = traced(event_id)
    await export(store, spans[:2])
    await export(store, spans)
    await export(store, spans)
    listed = await ask(gateway, "list", TraceListRequest(page_items_max=1), TraceListReply)
    assert isinstance(listed, TraceListReply)
    (newest,) = listed.traces
    assert (newest.event_id, newest.spans, newest.has_error) == (event_id, 3, False)
    assert newest.name == "POST /api/v1/decide"


async def test_lists_page_by_page_newest_first(store: ServiceProcess, gateway: Client) -> None:
    event_ids = [new_event_id(f"page{index}") for index in range(5)]
    for event_id in event_ids:
        await export(store, traced(event_id))
    seen: list[str | None] = []
    cursor = None
    while len(seen) < len(event_ids):
        page = await ask(gateway, "list", TraceListRequest(page_items_max=2, cursor=cursor), TraceListReply)
        assert isinstance(page, TraceListReply)
        seen += [trace.event_id for trace in page.traces]
        cursor = page.cursor
    assert seen[: len(event_ids)] == event_ids[::-1]


@pytest.mark.parametrize("request_body", [TraceRequest(event_id="none"), TraceRequest(trace_id="0" * 31 + "1")])
async def test_what_is_not_there_is_a_not_found(
    store: ServiceProcess, gateway: Client, request_body: TraceRequest
) -> None:
    answer = await ask(gateway, "get", request_body, TraceReply)
    assert isinstance(answer, Problem)
    assert answer.code is ProblemCode.NOT_FOUND


async def test_a_broken_cursor_is_refused(store: ServiceProcess, gateway: Client) -> None:
    for cursor in ("x", "AAAA", "MjAyNi0wMS0wMSAwMA=="):
        answer = await ask(gateway, "list", TraceListRequest(cursor=cursor), TraceListReply)
        assert isinstance(answer, Problem)
        assert answer.code is ProblemCode.BODY_INVALID


async def test_hostile_bodies_are_refused(store: ServiceProcess) -> None:
    protobuf = {"content-type": MEDIA_TYPE}
    zipped = protobuf | {"content-encoding": "gzip"}
    cases: list[tuple[bytes, dict[str, str], int]] = [
        (b"\xff\xff\xff", protobuf, 422),
        (b"{}", {"content-type": "application/json"}, 415),
        (b"x", protobuf | {"content-encoding": "br"}, 415),
        (b"not gzip", zipped, 422),
        (gzip.compress(b"\x0a" * 100)[:-9], zipped, 422),
        (gzip.compress(b"\x00" * (BODY_BYTES_MAX * 4)), zipped, 413),
        (b"\x00" * (BODY_BYTES_MAX + 1), protobuf, 413),
    ]
    async with httpx.AsyncClient() as client:
        for body, headers, status in cases:
            answer = await client.post(f"{store.url}/v1/traces", content=body, headers=headers)
            assert answer.status_code == status, (body[:20], headers)


async def test_impossible_spans_are_refused_and_their_neighbours_kept(store: ServiceProcess, gateway: Client) -> None:
    export_request = ExportTraceServiceRequest()
    spans = export_request.resource_spans.add().scope_spans.add().spans
    now = time.time_ns()
    trace_id = os.urandom(16)
    spans.add(trace_id=trace_id, span_id=os.urandom(8), name="good", start_time_unix_nano=now, end_time_unix_nano=1)
    spans.add(trace_id=b"short", span_id=os.urandom(8), start_time_unix_nano=now)
    spans.add(trace_id=os.urandom(16), span_id=b"", start_time_unix_nano=now)
    spans.add(trace_id=os.urandom(16), span_id=os.urandom(8), start_time_unix_nano=2**63)
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{store.url}/v1/traces", content=export_request.SerializeToString(), headers={"content-type": MEDIA_TYPE}
        )
    assert answer.status_code == 200
    found = await ask(gateway, "get", TraceRequest(trace_id=trace_id.hex()), TraceReply)
    assert isinstance(found, TraceReply)
    assert [(span.name, span.duration_us) for span in found.spans] == [("good", 0)]


async def test_the_store_is_bounded_by_age_and_by_count(
    store: ServiceProcess, gateway: Client, postgres_server: PostgresFixture
) -> None:
    """The oldest goes first; what is younger and within the bound stays."""
    event_ids = [new_event_id(f"bounded{index}") for index in range(4)]
    for event_id in event_ids:
        await export(store, traced(event_id))
    connection = await asyncpg.connect(postgres_server.database_url("traces"))
    try:
        await connection.execute(
            "UPDATE traces.traces SET started_at = started_at - interval '100 hours' WHERE event_id = $1", event_ids[0]
        )
        url = postgres_server.database_url("traces").replace("postgresql://", "postgresql+asyncpg://")
        engine = create_async_engine(url)
        async with engine.begin() as pruning:
            while await repository.prune(pruning, age_max=timedelta(hours=72), spans_max=6):
                pass
        await engine.dispose()
        rows = await connection.fetch("SELECT event_id FROM traces.traces ORDER BY started_at DESC")
        assert [row["event_id"] for row in rows] == [event_ids[3], event_ids[2]]
        assert await connection.fetchval("SELECT count(*) FROM traces.spans") == 6
    finally:
        await connection.close()


async def test_the_role_can_change_no_span_and_create_nothing(
    store: ServiceProcess, postgres_server: PostgresFixture
) -> None:
    connection = await asyncpg.connect(postgres_server.database_url("traces"))
    try:
        for statement in (
            "UPDATE traces.spans SET name = 'forged'",
            "CREATE TABLE traces.more ()",
            "CREATE TABLE public.more ()",
            "DROP TABLE traces.spans",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
