"""Traces on the whole stack: one tree for one event, what is kept at a rate of nothing, and how traces are found."""

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from support.fixtures import server_folder
from support.hookbus_command import COMMAND
from support.stack import StackFixture
from support.waiting import eventually

WAIT_S = 60.0
PROCESSES = {"hook", "gateway", "session", "budget", "audit"}


@pytest.fixture(scope="module")
def keeping_stack() -> Iterator[StackFixture]:
    """A stack that exports no trace but those with an objection."""
    with server_folder() as folder:
        running = StackFixture.launch(folder / "stack", HOOKBUS_TRACE_SAMPLE_RATIO="0")
        try:
            yield running
        finally:
            running.stop()


def hook(stack: StackFixture, agent: str, trace_id: str, parent: str) -> dict[str, Any]:
    """One pre-task by the real command, under a span of the agent's; what the hook answers."""
    payload = {
        "session_id": f"s-{agent}",
        "cwd": "/tmp",
        "hook_event_name": "PreToolUse",
        "tool_name": "Read",
        "tool_input": {"file_path": "a.py"},
        "tool_use_id": secrets.token_hex(4),
    }
    environment = {
        **stack.environment,
        "HOME": os.environ.get("HOME", "/"),
        "HOOKBUS_AGENT_ID": agent,
        "TRACEPARENT": f"00-{trace_id}-{parent}-01",
    }
    done = subprocess.run(
        [str(COMMAND), "hook", "claude-code"],
        input=json.dumps(payload).encode(),
        env=environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout) if done.stdout.strip() else {}


def spans_of(stack: StackFixture, trace_id: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{stack.url}/api/v1/traces/{trace_id}", headers=stack.headers, timeout=10)
    return found.json()["spans"] if found.status_code == 200 else []


def listed(stack: StackFixture, **query: Any) -> list[dict[str, Any]]:
    answer = httpx.get(f"{stack.url}/api/v1/traces", params=query, headers=stack.headers, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()["traces"]


def refuse_everything(stack: StackFixture, agent: str) -> None:
    """The agent has used up all it may."""
    body = {"limits": [{"unit": "tokens", "window": "hour", "amount": 1}]}
    answer = httpx.post(f"{stack.url}/api/v1/budget/init/{agent}", json=body, headers=stack.headers, timeout=10)
    assert answer.status_code in {200, 201}, answer.text
    taken = {"agent_id": agent, "tokens_used": 1_000_000, "cost": "1", "idempotency_key": f"k-{agent}"}
    done = httpx.post(f"{stack.url}/api/v1/budget/deduct", json=taken, headers=stack.headers, timeout=10)
    assert done.status_code == 200, done.text


async def test_one_event_is_one_tree_of_five_processes(stack: StackFixture) -> None:
    """Hook process, gateway, publishing, each service's handling, SQL and the append: all under the hook's span."""
    assert stack.wait_ready()
    trace_id, parent, agent = secrets.token_hex(16), secrets.token_hex(8), f"tree-{secrets.token_hex(4)}"
    hook(stack, agent, trace_id, parent)

    def consumers() -> set[str]:
        return {span["service"] for span in spans_of(stack, trace_id) if span["name"] == "process HOOKS"}

    await eventually(lambda: consumers() == {"session", "audit"}, WAIT_S)
    await eventually(lambda: {span["service"] for span in spans_of(stack, trace_id)} == PROCESSES, WAIT_S)
    spans = spans_of(stack, trace_id)
    by_id = {span["span_id"]: span for span in spans}
    roots = [span for span in spans if span.get("parent_span_id") not in by_id]
    assert [(root["service"], root["name"], root["parent_span_id"]) for root in roots] == [
        ("hook", "hook pre-task", parent)
    ]
    names = {(span["service"], span["name"]) for span in spans}
    assert names >= {
        ("gateway", "POST /api/v1/decide"),
        ("gateway", "decide"),
        ("gateway", "request rpc.session.assess"),
        ("session", "process rpc.session.assess"),
        ("gateway", "request rpc.budget.check"),
        ("budget", "process rpc.budget.check"),
        ("gateway", "publish hooks.pre-task.*"),
        ("audit", "audit append"),
    }
    published = next(span for span in spans if span["name"].startswith("publish"))
    for consumed in (span for span in spans if span["name"] == "process HOOKS"):
        assert consumed["parent_span_id"] == published["span_id"], "a consumer continues what was published"
        assert consumed["attributes"]["messaging.system"] == "nats"
    (request,) = (span for span in spans if "http.request.method" in span["attributes"])
    assert (request["attributes"]["http.route"], request["attributes"]["url.path"]) == ("/api/v1/decide",) * 2
    assert {span["service"] for span in spans if "db.system.name" in span["attributes"]} >= {"session", "audit"}
    hook_span, edge = roots[0], next(span for span in spans if span["name"] == "POST /api/v1/decide")
    assert hook_span["started_at"] <= edge["started_at"]
    assert edge["parent_span_id"] == hook_span["span_id"]


async def test_a_denial_is_kept_whatever_the_rate(keeping_stack: StackFixture) -> None:
    """At a rate of nothing the parts of a denied event's trace are exported by every process, those of others not.

    The caller's own sampled flag changes neither.
    """
    stack = keeping_stack
    denied, allowed = secrets.token_hex(16), secrets.token_hex(16)
    refuse_everything(stack, "refused")
    assert hook(stack, "let-through", allowed, "a" * 16) == {}
    answer = hook(stack, "refused", denied, "b" * 16)
    assert answer["hookSpecificOutput"]["permissionDecision"] == "deny"

    def complete() -> bool:
        spans = spans_of(stack, denied)
        asked = {span["service"] for span in spans if span["name"].startswith("process rpc.")}
        return {span["service"] for span in spans} == PROCESSES and asked == {"session", "budget"}

    await eventually(complete, WAIT_S)
    assert spans_of(stack, allowed) == []
    assert [trace["trace_id"] for trace in listed(stack)] == [denied]
    assert [trace["trace_id"] for trace in listed(stack, status="objection")] == [denied]


async def test_traces_are_found_by_agent_time_status_and_duration(stack: StackFixture) -> None:
    assert stack.wait_ready()
    agent = f"found-{secrets.token_hex(4)}"
    began = datetime.now(UTC) - timedelta(seconds=30)
    fine, denied = secrets.token_hex(16), secrets.token_hex(16)
    hook(stack, agent, fine, "a" * 16)
    refuse_everything(stack, agent)
    hook(stack, agent, denied, "b" * 16)
    await eventually(lambda: {one["trace_id"] for one in listed(stack, agent=agent)} >= {fine, denied}, WAIT_S)

    def ids(**query: Any) -> set[str]:
        return {one["trace_id"] for one in listed(stack, agent=agent, **query)} & {fine, denied}

    await eventually(lambda: ids(status="objection") == {denied}, WAIT_S)
    assert ids(status="ok") == {fine}
    assert ids(status="error") == set()
    assert ids(since=began.isoformat()) == {fine, denied}
    assert ids(until=began.isoformat()) == set()
    assert ids(min_duration_ms=0) == {fine, denied}
    assert ids(min_duration_ms=600_000) == set()
    first = listed(stack, agent=agent, limit=1)
    assert len(first) == 1
    for wrong in (
        {"status": "odd"},
        {"min_duration_ms": -1},
        {"since": "yesterday"},
        {"agent": "a b"},
        {"cursor": "x"},
    ):
        answer = httpx.get(f"{stack.url}/api/v1/traces", params=wrong, headers=stack.headers, timeout=10)
        assert answer.status_code == 422, wrong
