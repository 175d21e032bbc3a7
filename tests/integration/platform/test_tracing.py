"""One trace from a hook's traceparent to the handler of a consumer."""

from collections.abc import Sequence
from functools import cache

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from support.bus import new_broker, started
from support.events import hook_event
from support.servers import NatsFixture, PostgresFixture
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.contracts.events import Kind
from hookbus.platform import telemetry
from hookbus.platform.bus.consumer import subscribe_batches
from hookbus.platform.bus.delivery import Ack, Delivery, Verdict
from hookbus.platform.bus.streams import SESSION_HOOKS
from hookbus.platform.database.engine import Database
from hookbus.platform.settings import DatabaseSettings

TRACE_IDS = ("0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c")


@cache
def _provider() -> TracerProvider:
    """A process has one provider for its life; tests add their own exporters to it."""
    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    return provider


def recording() -> InMemorySpanExporter:
    """Every span from now on."""
    exporter = InMemorySpanExporter()
    _provider().add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


async def test_each_event_of_a_batch_continues_its_own_trace(own_nats_server: NatsFixture) -> None:
    """Two events of two traces handled in one batch give one consumer span in each trace, with the event's id."""
    exporter = recording()
    handled: list[str] = []

    async def handle(deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        with telemetry.span("work"):
            handled.extend(delivery.event.id for delivery in deliveries)
        return [Ack()] * len(deliveries)

    publisher = await own_nats_server.connect("gateway")
    for number, trace_id in enumerate(TRACE_IDS):
        event = hook_event(event_id=f"event-{number}")
        await publisher.jetstream().publish(
            subjects.hook_subject(Kind.PRE_TASK, event.subject),
            event.to_wire(),
            headers={subjects.HEADER_TRACEPARENT: f"00-{trace_id}-b7ad6b7169203331-01"},
        )
    await publisher.close()
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(broker, SESSION_HOOKS, handle)
    async with started(broker):
        await eventually(lambda: len(handled) == len(TRACE_IDS))

    spans = [span for span in exporter.get_finished_spans() if span.name == "process HOOKS"]
    seen = {
        (trace.format_trace_id(span.context.trace_id), (span.attributes or {})[telemetry.ATTRIBUTE_EVENT_ID])
        for span in spans
        if span.context is not None
    }
    assert seen == {(TRACE_IDS[0], "event-0"), (TRACE_IDS[1], "event-1")}
    work = next(span for span in exporter.get_finished_spans() if span.name == "work")
    assert work.context is not None
    assert trace.format_trace_id(work.context.trace_id) == TRACE_IDS[0]


async def test_statements_are_spans_of_the_trace_that_runs_them(postgres_server: PostgresFixture) -> None:
    """A statement inside a span gives a child span with its text, without its parameters; a failing one is marked."""
    exporter = recording()
    settings = DatabaseSettings.model_validate(
        {
            "nats_user": "session",
            "nats_password": "unused",
            "http_port": 0,
            "database_url": postgres_server.database_url("session"),
        }
    )
    database = Database("session", settings)
    with telemetry.span("handler"):
        async with database.begin() as connection:
            await connection.execute(text("SELECT CAST(:value AS text)"), {"value": "private"})
        with pytest.raises(SQLAlchemyError):
            async with database.begin() as connection:
                await connection.execute(text("SELECT 1 / 0"))
    await database.close()
    spans = exporter.get_finished_spans()
    handler = next(span for span in spans if span.name == "handler")
    statements = [span for span in spans if "db.query.text" in (span.attributes or {})]
    assert all(
        span.parent and handler.context and span.parent.span_id == handler.context.span_id for span in statements
    )
    assert [span.status.status_code for span in statements] == [StatusCode.UNSET, StatusCode.ERROR]
    failed = statements[1].attributes or {}
    assert (failed["error.type"], failed["db.response.status_code"]) == ("22012", "22012"), "division by zero"
    assert "private" not in str([span.to_json() for span in statements])
