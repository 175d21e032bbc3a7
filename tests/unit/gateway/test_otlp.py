"""Telemetry of three agents as usage reports: the same from protobuf as from JSON."""

import gzip
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from hookbus.client import adapters
from hookbus.client.adapters.base import Context
from hookbus.contracts.events import ShortEvent
from hookbus.contracts.payloads import Usage
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway.otlp import records as records_module
from hookbus.gateway.otlp.records import LogRecord, from_json, from_protobuf
from hookbus.gateway.otlp.usage import Defaults, usage_of
from hookbus.gateway.routes.otlp import inflate

WHEN_NS = 1_764_000_000_123_000_000
NOBODY = Defaults()


def value(given: Any) -> dict[str, Any]:
    if isinstance(given, bool):
        return {"boolValue": given}
    if isinstance(given, int):
        return {"intValue": str(given)}
    return {"doubleValue": given} if isinstance(given, float) else {"stringValue": given}


def pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value(given)} for key, given in attributes.items()]


def request(name: str, attributes: dict[str, Any], resource: dict[str, Any] | None = None) -> dict[str, Any]:
    record = {"timeUnixNano": str(WHEN_NS), "body": {"stringValue": name}, "attributes": pairs(attributes)}
    return {
        "resourceLogs": [
            {"resource": {"attributes": pairs(resource or {})}, "scopeLogs": [{"logRecords": [record]}]},
        ]
    }


def both(tree: dict[str, Any]) -> LogRecord:
    """The record, read from JSON and from protobuf alike."""
    message = ExportLogsServiceRequest()
    json_format.ParseDict(tree, message)
    (one,) = from_json(tree)
    (other,) = from_protobuf(message.SerializeToString())
    assert one == other
    return one


def reported(name: str, attributes: dict[str, Any], resource: dict[str, Any] | None = None, **defaults: str):
    event = usage_of(both(request(name, attributes, resource)), Defaults(**defaults))
    assert event is not None
    short = ShortEvent.model_validate(event)
    return short, Usage.model_validate(short.data)


CLAUDE: dict[str, Any] = {
    "event.name": "api_request",
    "session.id": "0b0f6a1e",
    "prompt.id": "p-1",
    "model": "claude-opus-4-5",
    "request_id": "req_011",
    "query_source": "main",
    "cost_usd_micros": 12_345,
    "input_tokens": 100,
    "output_tokens": 200,
    "cache_read_tokens": 3_000,
    "cache_creation_tokens": 40,
}
CODEX: dict[str, Any] = {
    "event.name": "codex.sse_event",
    "event.kind": "response.completed",
    "conversation.id": "c-1",
    "model": "gpt-5-codex",
    "input_token_count": 1_000,
    "output_token_count": 50,
    "cached_token_count": 900,
    "reasoning_token_count": 30,
}
GEMINI: dict[str, Any] = {
    "event.name": "gemini_cli.api_response",
    "session.id": "g-1",
    "model": "gemini-2.5-pro",
    "input_token_count": 12_000,
    "cached_content_token_count": 8_000,
    "output_token_count": 350,
    "thoughts_token_count": 420,
    "tool_token_count": 5,
    "total_token_count": 12_775,
}


def test_claude_codes_api_request() -> None:
    event, usage = reported("claude_code.api_request", CLAUDE)
    assert (event.kind, event.agent_id, event.session, event.time) == (
        "usage",
        "claude-code",
        "0b0f6a1e",
        datetime.fromtimestamp(WHEN_NS / 1e9, UTC),
    )
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_5m_tokens) == (
        100,
        200,
        3_000,
        40,
    )
    assert (str(usage.cost), usage.request_id, usage.provenance) == ("0.012345", "req_011", "otlp")


@pytest.mark.parametrize(
    ("changes", "cost"),
    [
        ({"cost_usd_micros": 0}, None),
        ({"cost_usd_micros": 0, "cost_usd": 0.25}, "0.250000"),
        ({"cost_usd_micros": "77"}, "0.000077"),
        ({"cost_usd_micros": 0, "cost_usd": "NaN"}, None),
        ({"cost_usd_micros": 0, "cost_usd": "1e999999"}, None),
    ],
)
def test_a_lost_cost_is_left_to_the_price_list(changes: dict[str, Any], cost: str | None) -> None:
    _, usage = reported("claude_code.api_request", {**CLAUDE, **changes})
    assert (None if usage.cost is None else str(usage.cost)) == cost


def test_openai_and_google_count_the_cache_inside_the_input() -> None:
    codex, usage = reported("x", CODEX)
    assert (codex.agent_id, codex.session) == ("codex", "c-1")
    assert (usage.input_tokens, usage.cache_read_tokens, usage.output_tokens) == (100, 900, 50)
    gemini, usage = reported("x", GEMINI)
    assert gemini.agent_id == "gemini"
    assert usage.input_tokens + usage.cache_read_tokens + usage.output_tokens == GEMINI["total_token_count"]


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("claude_code.user_prompt", {"prompt": "x"}),
        ("claude_code.api_request", {**CLAUDE, **dict.fromkeys([k for k in CLAUDE if k.endswith("tokens")], 0)}),
        ("x", {**CODEX, "event.kind": "response.created"}),
        ("gen_ai.client.inference.operation.details", {k: v for k, v in GEMINI.items() if k != "event.name"}),
        ("api_request", {"input_tokens": 5}),
        ("", {}),
    ],
)
def test_other_records_are_none_of_its_business(name: str, attributes: dict[str, Any]) -> None:
    assert usage_of(both(request(name, attributes)), NOBODY) is None


def test_a_repeated_record_has_the_same_id_and_another_agents_has_not() -> None:
    first, _ = reported("claude_code.api_request", CLAUDE)
    again, _ = reported("claude_code.api_request", CLAUDE)
    other, _ = reported("claude_code.api_request", CLAUDE, {"hookbus.agent_id": "other"})
    nameless, _ = reported("x", CODEX)
    nameless_again, _ = reported("x", CODEX)
    assert first.id == again.id != other.id
    assert nameless.id == nameless_again.id


def test_who_reports_is_told_by_the_resource_then_by_the_headers() -> None:
    resource = {"hookbus.agent_id": "mine", "hookbus.project": "web site"}
    named, _ = reported("x", GEMINI, resource, agent_id="header")
    assert (named.agent_id, named.project) == ("mine", "web-site")
    assert reported("x", GEMINI, agent_id="header", project="p")[0].agent_id == "header"
    assert reported("x", GEMINI, agent_id="not legal\n")[0].agent_id == "gemini"


@pytest.mark.parametrize("tree", [[], "x", None, 5])
def test_json_that_is_no_request_is_refused(tree: Any) -> None:
    with pytest.raises(ProblemError):
        from_json(tree)


ODD: list[Any] = [
    {},
    {"resourceLogs": 5},
    {"resourceLogs": [None, {"scopeLogs": [{"logRecords": ["x", {}]}]}]},
    {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"attributes": [{"key": 5}, {"value": {}}, 7]}]}]}]},
    {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "x" * 50}]}]}]},
]


@pytest.mark.parametrize("tree", ODD)
def test_json_of_odd_shape_reports_nothing(tree: Any) -> None:
    assert [usage_of(record, NOBODY) for record in from_json(tree)] in ([], [None])


def test_garbage_is_not_a_protobuf_request() -> None:
    with pytest.raises(ProblemError) as caught:
        from_protobuf(b"\xff\xff\xff\xff garbage")
    assert caught.value.problem.code is ProblemCode.BODY_INVALID


def test_the_number_of_records_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records_module, "RECORDS_MAX", 0)
    message = ExportLogsServiceRequest()
    json_format.ParseDict(request("x", GEMINI), message)
    for read in (lambda: from_json(request("x", GEMINI)), lambda: from_protobuf(message.SerializeToString())):
        with pytest.raises(ProblemError) as caught:
            read()
        assert caught.value.problem.code is ProblemCode.TOO_LARGE


WITHOUT_RECORDS: list[dict[str, Any]] = [
    {"resourceLogs": [{}, {}, {}]},
    {"resourceLogs": [{"scopeLogs": [{}, {}]}]},
    {"resourceLogs": [{"scopeLogs": [{}]}, {"scopeLogs": [{}]}]},
]


@pytest.mark.parametrize("tree", WITHOUT_RECORDS)
def test_resources_and_scopes_without_a_record_are_bounded_too(
    monkeypatch: pytest.MonkeyPatch, tree: dict[str, Any]
) -> None:
    """A few bytes unpack to millions of them."""
    message = ExportLogsServiceRequest()
    json_format.ParseDict(tree, message)
    readers = (lambda: from_json(tree), lambda: from_protobuf(message.SerializeToString()))
    for groups_max, is_refused in ((4, False), (2, True)):
        monkeypatch.setattr(records_module, "GROUPS_MAX", groups_max)
        for read in readers:
            if is_refused:
                with pytest.raises(ProblemError) as caught:
                    read()
                assert caught.value.problem.code is ProblemCode.TOO_LARGE
            else:
                assert read() == []


def test_unpacking_is_bounded() -> None:
    packed = gzip.compress(b"x" * 1_000)
    assert inflate(packed, 1_000) == b"x" * 1_000
    for body, code in ((packed, ProblemCode.TOO_LARGE), (packed[:-9], ProblemCode.BODY_INVALID), (b"x", None)):
        with pytest.raises(ProblemError) as caught:
            inflate(body, 999 if code is ProblemCode.TOO_LARGE else 1_000)
        assert caught.value.problem.code is (code or ProblemCode.BODY_INVALID)


def test_a_gemini_call_is_one_request_whether_a_hook_or_telemetry_reports_it() -> None:
    """And another call of the session, another session's, and one a minute later are others."""
    when = datetime.fromtimestamp(WHEN_NS / 1e9, UTC)

    def by_hook(session: str, total: int, at: datetime) -> object:
        context = Context(
            agent_id=None,
            project=None,
            fingerprint={},
            traceparent="",
            time_text="2000-01-01T00:00:00.000Z",
            new_event_id=lambda: "e",
        )
        payload = {
            "hook_event_name": "AfterModel",
            "session_id": session,
            "timestamp": at.isoformat().replace("+00:00", "Z"),
            "llm_response": {"usageMetadata": {"totalTokenCount": total}},
        }
        (event,) = adapters.load("gemini").translate(payload, context).records
        return event["data"]["request_id"]

    _, told = reported("x", GEMINI)
    assert told.request_id == by_hook("g-1", 12_775, when)
    _, without_total = reported("x", {name: value for name, value in GEMINI.items() if name != "total_token_count"})
    assert without_total.request_id == told.request_id
    others = [
        by_hook("g-2", 12_775, when),
        by_hook("g-1", 12_776, when),
        by_hook("g-1", 12_775, when + timedelta(minutes=1)),
    ]
    assert len({told.request_id, *others}) == 4


@pytest.mark.parametrize("changes", [{"session.id": ""}, {"session.id": None}])
def test_a_gemini_call_of_no_session_has_no_request(changes: dict[str, Any]) -> None:
    attributes = {name: value for name, value in {**GEMINI, **changes}.items() if value is not None}
    assert reported("x", attributes)[1].request_id is None
