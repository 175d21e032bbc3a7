"""OTLP over HTTP into a real gateway: usage events on the bus, answers that an exporter understands."""

import gzip
import json
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from support.bus import new_broker, started
from support.events import unique
from support.gateway_service import GatewayProcess

from hookbus.contracts import subjects
from hookbus.gateway.routes.otlp import MEDIA_TYPE_PROTOBUF
from hookbus.platform.bus.connection import jetstream


def request(agent: str, request_id: str, tokens: int = 7) -> dict[str, Any]:
    attributes = {
        "event.name": {"stringValue": "api_request"},
        "session.id": {"stringValue": "s-1"},
        "model": {"stringValue": "claude-opus-4-5"},
        "request_id": {"stringValue": request_id},
        "input_tokens": {"intValue": str(tokens)},
        "cost_usd_micros": {"intValue": "5"},
    }
    record = {
        "timeUnixNano": "1764000000000000000",
        "body": {"stringValue": "claude_code.api_request"},
        "attributes": [{"key": key, "value": value} for key, value in attributes.items()],
    }
    named = [{"key": "hookbus.agent_id", "value": {"stringValue": agent}}]
    return {"resourceLogs": [{"resource": {"attributes": named}, "scopeLogs": [{"logRecords": [record]}]}]}


def protobuf(tree: dict[str, Any]) -> bytes:
    message = ExportLogsServiceRequest()
    json_format.ParseDict(tree, message)
    return message.SerializeToString()


async def usage_of(gateway: GatewayProcess, agent: str) -> list[dict[str, Any]]:
    broker = new_broker(gateway.nats, "provision")
    async with started(broker):
        stream = jetstream(broker)
        info = await stream.stream_info(subjects.STREAM_HOOKS, subjects_filter=f"hooks.usage.{agent}")
        count = sum((info.state.subjects or {}).values())
        message = await stream.get_last_msg(subjects.STREAM_HOOKS, f"hooks.usage.{agent}")
        assert message.data is not None
        return [json.loads(message.data)] * count


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_an_exported_model_call_is_one_usage_event(gateway: GatewayProcess, packed: bool, encoding: str) -> None:
    """Sent twice, as an exporter does that got no answer, it lies on the bus once."""
    agent = unique("a")
    tree = request(agent, "req_1")
    body = json.dumps(tree).encode() if encoding == "json" else protobuf(tree)
    headers = {"content-type": "application/json" if encoding == "json" else MEDIA_TYPE_PROTOBUF}
    if packed:
        body, headers["content-encoding"] = gzip.compress(body), "gzip"
    async with gateway.client("events") as client:
        for _ in range(2):
            answer = await client.post("/otlp/v1/logs", content=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.headers["content-type"].startswith(headers["content-type"])
            assert answer.content == (b"{}" if encoding == "json" else b"")
    (event,) = await usage_of(gateway, agent)
    assert (event["data"]["input_tokens"], event["data"]["request_id"], event["session"]) == (7, "req_1", "s-1")
    assert (event["data"]["provenance"], event["data"]["cost"]) == ("otlp", "0.000005")


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_a_report_beyond_the_bounds_is_counted_as_rejected(gateway: GatewayProcess, encoding: str) -> None:
    tree = request(unique("a"), "req_2", tokens=10**12)
    async with gateway.client("events") as client:
        if encoding == "json":
            partial = (await client.post("/otlp/v1/logs", json=tree)).json()["partialSuccess"]
            assert partial["rejectedLogRecords"] == "1"
            assert "input_tokens" in partial["errorMessage"]
        else:
            headers = {"content-type": MEDIA_TYPE_PROTOBUF}
            answer = await client.post("/otlp/v1/logs", content=protobuf(tree), headers=headers)
            reply = ExportLogsServiceResponse.FromString(answer.content)
            assert reply.partial_success.rejected_log_records == 1


@pytest.mark.parametrize("signal", ["metrics", "traces"])
async def test_what_is_not_needed_is_taken_without_a_word(gateway: GatewayProcess, signal: str) -> None:
    async with gateway.client("events") as client:
        headers = {"content-type": MEDIA_TYPE_PROTOBUF}
        binary = await client.post(f"/otlp/v1/{signal}", content=b"\x0a\x00", headers=headers)
        text = await client.post(f"/otlp/v1/{signal}", json={"resourceMetrics": []})
    assert (binary.status_code, binary.content, text.status_code, text.json()) == (200, b"", 200, {})


@pytest.mark.parametrize("signal", ["logs", "metrics", "traces"])
async def test_refusals(gateway: GatewayProcess, signal: str) -> None:
    path = f"/otlp/v1/{signal}"
    bomb = gzip.compress(b" " * 64 * 1024 * 1024)
    async with gateway.client("events") as client, gateway.client(None) as nobody, gateway.client("audit") as other:
        packed = {"content-type": "application/json", "content-encoding": "gzip"}
        assert (await client.post(path, content=bomb, headers=packed)).status_code == 413
        assert (await client.post(path, content=b"x", headers=packed)).status_code == 422
        assert (await client.post(path, content=b"{", headers={"content-type": "application/json"})).status_code == 400
        assert (await client.post(path, content=b"{}", headers={"content-type": "text/plain"})).status_code == 415
        brotli = {**packed, "content-encoding": "br"}
        assert (await client.post(path, content=b"{}", headers=brotli)).status_code == 415
        assert (await nobody.post(path, json={})).status_code == 401
        assert (await other.post(path, json={})).status_code == 403
