"""Spans reach a collector by OTLP over gRPC and over HTTP, and a collector that is away costs spans and no time."""

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from prometheus_client import REGISTRY

from hookbus.embedded.ports import free_ports
from hookbus.platform.exporting import BoundedSpanProcessor, CountedExporter, span_exporter
from hookbus.platform.settings import OtlpProtocol

COUNT = 20


class Received:
    """What a collector was sent."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.arrived = threading.Event()

    def take(self, export: trace_service_pb2.ExportTraceServiceRequest) -> None:
        for resource in export.resource_spans:
            for scope in resource.scope_spans:
                self.names += [span.name for span in scope.spans]
        if len(self.names) >= COUNT:
            self.arrived.set()


@contextmanager
def grpc_collector() -> Generator[tuple[str, Received]]:
    received = Received()

    class Collector(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - the service's own name and shape
            received.take(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Collector(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", received
    finally:
        server.stop(grace=1).wait()


@contextmanager
def http_collector() -> Generator[tuple[str, Received]]:
    received = Received()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            received.take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's names
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("protocol", "collector"), [(OtlpProtocol.GRPC, grpc_collector), (OtlpProtocol.HTTP_PROTOBUF, http_collector)]
)
def test_spans_reach_a_collector(protocol: OtlpProtocol, collector: Any) -> None:
    with collector() as (endpoint, received):
        provider = TracerProvider()
        provider.add_span_processor(BoundedSpanProcessor(span_exporter(endpoint, protocol)))
        tracer = provider.get_tracer("test")
        for number in range(COUNT):
            tracer.start_span(f"span {number}").end()
        assert received.arrived.wait(30)
        provider.shutdown()
    assert sorted(received.names) == sorted(f"span {number}" for number in range(COUNT))


def test_what_a_collector_that_is_away_does_not_take_is_counted() -> None:
    (port,) = free_ports(1)
    exporter = CountedExporter(span_exporter(f"http://127.0.0.1:{port}", OtlpProtocol.HTTP_PROTOBUF))
    before = REGISTRY.get_sample_value("hookbus_trace_spans_dropped_total", {"reason": "export_failed"}) or 0.0
    provider = TracerProvider()
    span = provider.get_tracer("test").start_span("lost")
    span.end()
    assert exporter.export([span]) is SpanExportResult.FAILURE  # pyright: ignore[reportArgumentType]  # the library's spans are both
    after = REGISTRY.get_sample_value("hookbus_trace_spans_dropped_total", {"reason": "export_failed"}) or 0.0
    assert after - before == 1
    exporter.shutdown()
