"""From an agent's hook to the log: what a user of the command line sees, on the whole stack."""

import json
import signal
import time
from typing import Any

import httpx
from support.bus import bus_settings_of
from support.commands import claude_hook, hookbus, permission
from support.events import unique
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.platform.bus.connection import connect_plain

BASH = {"tool_name": "Bash", "tool_input": {"command": "ls"}}


def post(stack: StackFixture, path: str, body: object) -> httpx.Response:
    return httpx.post(f"{stack.url}{path}", json=body, headers=stack.headers, timeout=10)


def get(stack: StackFixture, path: str) -> httpx.Response:
    return httpx.get(f"{stack.url}{path}", headers=stack.headers, timeout=10)


def events_of(stack: StackFixture, agent: str) -> list[dict[str, Any]]:
    """The agent's events in the audit log, in its order."""
    return [one["event"] for one in get(stack, f"/api/v1/audit/entries?agent={agent}").json()["entries"]]


async def test_a_spent_budget_denies_the_next_hook_and_the_log_says_why(stack: StackFixture) -> None:
    """The hook of an agent with budget has no opinion; once the budget is spent the hook denies with the reason, and
    both decisions lie in the audit log."""
    agent, session = unique("agent"), unique("session")
    limits = [{"unit": "tokens", "window": "day", "amount": 5_000}]
    assert post(stack, f"/api/v1/budget/init/{agent}", {"limits": limits}).status_code == 201

    assert permission(claude_hook(stack, "PreToolUse", session, agent, tool_use_id="t1", **BASH)) is None
    assert claude_hook(stack, "PostToolUse", session, agent, tool_use_id="t1", tool_response={}, **BASH).code == 0
    usage = json.dumps({"tokens_used": 6_000, "cost": "0.01"})
    assert hookbus(stack, "emit", "usage", "--agent", agent, "--data", usage).code == 0

    def spent() -> bool:
        remaining = get(stack, f"/api/v1/budget/status/{agent}").json()["remaining"]
        return [one["spent"] for one in remaining] == ["6000"]

    await eventually(spent)
    decision = permission(claude_hook(stack, "PreToolUse", session, agent, tool_use_id="t2", **BASH))
    assert decision is not None
    assert decision[0] == "deny"
    assert "tokens" in decision[1]

    def decisions() -> list[object]:
        return [one.get("decision") for one in events_of(stack, agent) if "pre-task" in one["type"]]

    await eventually(lambda: decisions() == ["allow", "deny"])
    assert get(stack, "/api/v1/audit/verify").json()["ok"]


async def test_a_killed_session_is_denied_at_its_next_hook_until_revived(stack: StackFixture) -> None:
    agent, session = unique("agent"), unique("session")
    assert permission(claude_hook(stack, "PreToolUse", session, agent, tool_use_id="t1", **BASH)) is None
    await eventually(lambda: get(stack, f"/api/v1/sessions/{session}").status_code == 200)

    assert post(stack, f"/api/v1/sessions/{session}/kill", {"reason": "runaway"}).status_code == 200
    denied = permission(claude_hook(stack, "PreToolUse", session, agent, tool_use_id="t2", **BASH))
    assert denied is not None
    assert denied[0] == "deny"
    assert "runaway" in denied[1]

    assert post(stack, f"/api/v1/sessions/{session}/revive", {}).status_code == 200
    assert permission(claude_hook(stack, "PreToolUse", session, agent, tool_use_id="t3", **BASH)) is None


async def test_a_path_outside_the_workspace_is_refused(stack: StackFixture) -> None:
    agent, session = unique("agent"), unique("session")
    read = {"tool_name": "Read", "tool_input": {"file_path": "/etc/shadow"}, "tool_use_id": "t1"}
    denied = permission(claude_hook(stack, "PreToolUse", session, agent, **read))
    assert denied is not None
    assert denied[0] == "deny"


async def test_with_the_bus_stopped_hooks_spool_and_the_spool_drains_on_its_return(own_stack: StackFixture) -> None:
    """nats-server stopped: events get a 503 with Retry-After within 2 s and hooks spool; once it is back, every
    spooled event is in the audit log, once."""
    stack = own_stack
    agent, session = unique("agent"), unique("session")
    pid = stack.kill("nats", signal.SIGSTOP)  # it neither answers nor is started again
    try:
        begin_s = time.monotonic()
        answer = post(stack, "/api/v1/events", {"kind": "prompt", "agent_id": agent, "data": {}})
        took_s = time.monotonic() - begin_s
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert took_s < 2.0
        for number in range(5):
            ran = claude_hook(stack, "UserPromptSubmit", session, agent, prompt=f"prompt {number}")
            assert ran.code == 0
            assert "spool" in ran.err
        assert hookbus(stack, "spool", "status", "--json").json()["waiting_events"] == 5
    finally:
        stack.kill("nats", signal.SIGCONT)
    assert pid == stack.pids()["nats"]
    assert stack.wait_ready()
    flushed = hookbus(stack, "spool", "flush", "--json")
    assert flushed.code == 0, flushed.err
    assert hookbus(stack, "spool", "status", "--json").json()["waiting_events"] == 0

    def prompts() -> list[str]:
        return [one["data"]["prompt"] for one in events_of(stack, agent)]

    await eventually(lambda: len(prompts()) >= 5)
    assert prompts() == [f"prompt {number}" for number in range(5)]


async def test_poison_is_set_aside_by_every_service_and_its_neighbours_pass(own_stack: StackFixture) -> None:
    """Garbage past the gateway: each service dead-letters it, and the events before and after it are logged."""
    stack = own_stack
    agent = unique("agent")
    settings = bus_settings_of(stack, "gateway")
    client = await connect_plain(settings.nats_url, settings.nats_user, settings.nats_password.get_secret_value())
    post(stack, "/api/v1/events", {"kind": "prompt", "agent_id": agent, "data": {"n": 1}})
    await client.jetstream().publish(f"hooks.usage.{agent}", b'{"specversion": "1.0", "id": "broken"')
    post(stack, "/api/v1/events", {"kind": "prompt", "agent_id": agent, "data": {"n": 2}})
    await client.close()
    await eventually(lambda: [one["data"]["n"] for one in events_of(stack, agent)] == [1, 2])

    settings = bus_settings_of(stack, "provision")
    client = await connect_plain(settings.nats_url, settings.nats_user, settings.nats_password.get_secret_value())

    async def buried() -> set[str]:
        info = await client.jetstream().stream_info(subjects.STREAM_DEADLETTER, subjects_filter="deadletter.>")
        return set(info.state.subjects or {})

    async def by_all() -> bool:
        return await buried() == {"deadletter.budget", "deadletter.session", "deadletter.audit"}

    await eventually(by_all)
    await client.close()
