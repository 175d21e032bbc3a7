"""Decisions: guard, session, budget in this order; the record of each; agents that speak HTTP themselves."""

import json
import uuid
from typing import Any

import pytest
from support.bus import last_event
from support.gateway_service import AGENT_ASKED, AGENT_BROKE, GatewayProcess

from hookbus.contracts.budget import ReserveRequest
from hookbus.contracts.events import MEDIA_TYPE_EVENT, Event


def pre_task(agent_id: str, tool: str = "Read", **fields: Any) -> dict[str, Any]:
    tool_input = fields.pop("tool_input", {"file_path": "src/app.py"})
    data = {"tool": tool, "tool_input": tool_input, "cwd": "/home/dev/web", "operation_id": "op-1"}
    return {"kind": "pre-task", "agent_id": agent_id, "session": "s-ok", "data": data, **fields}


def new_agent() -> str:
    return f"agent-{uuid.uuid4().hex[:12]}"


async def last_of(gateway: GatewayProcess, subject: str) -> Event | None:
    return await last_event(gateway.nats, "HOOKS" if subject.startswith("hooks") else "SECURITY", subject)


async def test_allow(gateway: GatewayProcess) -> None:
    """No objection: the estimate is held, and the decided event is on disk before the answer."""
    agent = new_agent()
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/decide", json=pre_task(agent))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["decision"], body["code"], body["risk"]) == ("allow", "ok", 0.02)
    assert body["reservation"] == f"rsv-{body['event_id']}"
    assert body["budget"]["remaining"][0]["remaining"] == "1.25"
    assert body["trace_id"] == answer.headers["traceparent"][3:35]
    asked = gateway.peers.last("check")
    assert isinstance(asked, ReserveRequest)
    assert (asked.event_id, asked.operation_id, asked.reserve, asked.tool) == (body["event_id"], "op-1", True, "Read")
    event = await last_of(gateway, f"hooks.pre-task.{agent}")
    assert event is not None
    assert (event.id, event.decision, event.decisioncode) == (body["event_id"], "allow", "ok")
    assert event.reservation == body["reservation"]


async def test_a_name_that_the_budget_cannot_store_is_asked_about_all_the_same(gateway: GatewayProcess) -> None:
    body = pre_task(new_agent())
    body["data"]["model"] = "claude\0"
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/decide", json=body)
    assert answer.status_code == 200, answer.text
    asked = gateway.peers.last("check")
    assert isinstance(asked, ReserveRequest)
    assert asked.model == "claude\ufffd"


@pytest.mark.parametrize(
    ("tool", "tool_input", "code"),
    [
        ("Read", {"file_path": "/etc/passwd"}, "path_outside_workspace"),
        ("Write", {"file_path": "../../outside.txt"}, "path_outside_workspace"),
        ("Bash", {"command": "cd /tmp && sudo rm -rf / --no-preserve-root"}, "command_refused"),
        ("Read", {"file_path": "src/\u0000app.py"}, "input_refused"),
    ],
)
async def test_the_guard_denies(gateway: GatewayProcess, tool: str, tool_input: Any, code: str) -> None:
    """A deny is an answer with its reason; budget and session are not asked; a security event is stored."""
    agent = new_agent()
    held = len(gateway.peers.asked.get("check", []))
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/decide", json=pre_task(agent, tool, tool_input=tool_input))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["decision"], body["code"]) == ("deny", code)
    assert body["reason"]
    assert "reservation" not in body
    assert len(gateway.peers.asked.get("check", [])) == held
    security = await last_of(gateway, f"security.{code}")
    assert security is not None
    assert (security.id, security.subject) == (f"{body['event_id']}.{code}", agent)
    assert security.session == "s-ok"
    event = await last_of(gateway, f"hooks.pre-task.{agent}")
    assert event is not None
    assert event.decision == "deny"


async def test_budget_denies_or_asks(gateway: GatewayProcess) -> None:
    """An exceeded limit blocks, or asks the person where its mode says so."""
    async with gateway.client("events") as client:
        denied = (await client.post("/api/v1/decide", json=pre_task(AGENT_BROKE))).json()
        asked = (await client.post("/api/v1/decide", json=pre_task(AGENT_ASKED))).json()
    assert (denied["decision"], denied["code"]) == ("deny", "tokens_exhausted")
    assert (asked["decision"], asked["code"]) == ("ask", "tokens_exhausted")


async def test_a_killed_session_is_denied_until_it_is_revived(gateway: GatewayProcess) -> None:
    """Kill and revive by the API; the next decision obeys."""
    session = f"s-{uuid.uuid4().hex}"
    async with gateway.client() as client:
        assert (await client.post(f"/api/v1/sessions/{session}/kill", json={"reason": "test"})).status_code == 200
        denied = (await client.post("/api/v1/decide", json=pre_task(new_agent(), session=session))).json()
        assert (await client.post(f"/api/v1/sessions/{session}/revive")).status_code == 200
        allowed = (await client.post("/api/v1/decide", json=pre_task(new_agent(), session=session))).json()
    assert (denied["decision"], denied["code"], denied["risk"]) == ("deny", "session_terminated", 1.0)
    assert allowed["decision"] == "allow"


async def test_a_risky_session_asks(gateway: GatewayProcess) -> None:
    """The person decides; the budget is held for the case that they agree."""
    session = f"s-{uuid.uuid4().hex}"
    gateway.peers.risky.add(session)
    async with gateway.client("events") as client:
        body = (await client.post("/api/v1/decide", json=pre_task(new_agent(), session=session))).json()
    assert (body["decision"], body["code"], body["risk"]) == ("ask", "session_risk", 0.75)
    assert body["reservation"]


async def test_a_cloudevent_can_be_decided_and_other_kinds_cannot(gateway: GatewayProcess) -> None:
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": uuid.uuid4().hex,
        "source": "urn:test",
        "type": "dev.hookbus.pre-task.v1",
        "subject": new_agent(),
        "data": {},
    }
    async with gateway.client("events") as client:
        good = await client.post(
            "/api/v1/decide", content=json.dumps(event), headers={"content-type": MEDIA_TYPE_EVENT}
        )
        forged = await client.post(
            "/api/v1/decide",
            content=json.dumps({**event, "decision": "allow"}),
            headers={"content-type": MEDIA_TYPE_EVENT},
        )
        other = await client.post("/api/v1/decide", json={**pre_task(new_agent()), "kind": "prompt"})
    assert good.status_code == 200
    assert forged.status_code == 422
    assert other.status_code == 422
    assert other.json()["errors"][0]["loc"] == "kind"


def claude(event: str, **fields: Any) -> dict[str, Any]:
    return {
        "session_id": "s-http",
        "cwd": "/home/dev/web",
        "hook_event_name": event,
        "tool_name": "Read",
        "tool_use_id": "toolu_1",
        "tool_input": {"file_path": "src/app.py"},
        **fields,
    }


async def test_claude_codes_own_http_hook(gateway: GatewayProcess) -> None:
    """No objection is an empty object, never an allow; a deny is Claude Code's own JSON."""
    agent = new_agent()
    path = f"/api/v1/hooks/claude-code?agent_id={agent}&project=web"
    async with gateway.client("events") as client:
        started = await client.post(path, json=claude("SessionStart", source="startup"))
        fine = await client.post(path, json=claude("PreToolUse"))
        done = await client.post(path, json=claude("PostToolUse", tool_response={"ok": True}))
        bad = await client.post(path, json=claude("PreToolUse", tool_input={"file_path": "/etc/passwd"}))
        unknown = await client.post("/api/v1/hooks/nobody", json=claude("PreToolUse"))
    assert (started.status_code, started.json()) == (200, {})
    assert (fine.status_code, fine.json()) == (200, {})
    assert (done.status_code, done.json()) == (200, {})
    answer = bad.json()["hookSpecificOutput"]
    assert answer["permissionDecision"] == "deny"
    assert "path_outside_workspace" in answer["permissionDecisionReason"]
    assert unknown.status_code == 404
    event = await last_of(gateway, f"hooks.post-task.{agent}")
    assert event is not None
    assert (event.project, event.data["operation_id"]) == ("web", "toolu_1")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(claude("PreToolUse"))[:-1],
        json.dumps(claude("PreToolUse")).replace("src/app.py", "\\ud83d"),
        json.dumps(claude("PreToolUse")).replace('"file_path"', '"__proto__"'),
    ],
)
async def test_a_native_pre_task_that_cannot_be_read_is_denied(gateway: GatewayProcess, body: str) -> None:
    """An error status would let it pass."""
    async with gateway.client("events") as client:
        answer = await client.post(
            "/api/v1/hooks/claude-code", content=body, headers={"content-type": "application/json"}
        )
    assert answer.status_code == 200
    assert answer.json()["hookSpecificOutput"]["permissionDecision"] == "deny"
