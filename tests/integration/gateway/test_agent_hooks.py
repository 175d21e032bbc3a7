"""``POST /api/v1/hooks/{agent}``: the bodies of five agents, each answered in its own schema by a real gateway."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.events import unique
from support.gateway_service import GatewayProcess

PAYLOADS = Path(__file__).parents[2] / "unit" / "client" / "payloads"
DENIED = {"command": "rm -rf /"}
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "claude-code": ("PreToolUse", {"tool_input": DENIED}),
    "codex": ("PreToolUse", {"tool_input": DENIED}),
    "gemini": ("BeforeTool", {"tool_input": DENIED}),
    "cursor": ("beforeShellExecution", DENIED),
    "copilot": ("preToolUse", {"toolArgs": json.dumps(DENIED)}),
}


def payloads(agent: str) -> dict[str, dict[str, Any]]:
    return json.loads((PAYLOADS / f"{agent}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("agent", REFUSED)
async def test_every_event_is_taken_and_nothing_is_granted(gateway: GatewayProcess, agent: str) -> None:
    async with gateway.client("events") as client:
        for event, payload in payloads(agent).items():
            path = f"/api/v1/hooks/{agent}?agent_id={unique('a')}&event={event}"
            answer = await client.post(path, json={**payload, "cwd": "/tmp"})
            assert answer.status_code == 200, answer.text
            assert answer.json() in ({}, {"continue": True}) or "outside" in answer.text


@pytest.mark.parametrize("agent", REFUSED)
async def test_a_deny_comes_in_the_agents_own_words(gateway: GatewayProcess, agent: str) -> None:
    event, changes = REFUSED[agent]
    async with gateway.client("events") as client:
        answer = await client.post(f"/api/v1/hooks/{agent}?event={event}", json={**payloads(agent)[event], **changes})
    body = answer.json()
    verdict = (
        body.get("hookSpecificOutput", {}).get("permissionDecision")
        or body.get("permissionDecision")
        or body.get("permission")
        or body.get("decision")
    )
    assert (answer.status_code, verdict) == (200, "deny")
    assert "command_refused" in answer.text


async def test_a_patch_that_leaves_the_workspace_is_denied(gateway: GatewayProcess) -> None:
    patch = "*** Begin Patch\n*** Update File: src/a.py\n*** Add File: /etc/cron.d/x\n+y\n*** End Patch"
    payload = {**payloads("codex")["PreToolUse"], "tool_name": "apply_patch", "tool_input": {"command": patch}}
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/hooks/codex", json=payload)
    assert answer.json()["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert "path_outside_workspace" in answer.text


@pytest.mark.parametrize("agent", ["cursor", "copilot", "gemini"])
async def test_a_pre_task_that_cannot_be_read_is_denied(gateway: GatewayProcess, agent: str) -> None:
    body = json.dumps(payloads(agent)[REFUSED[agent][0]])[:-1]
    async with gateway.client("events") as client:
        answer = await client.post(f"/api/v1/hooks/{agent}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    assert "deny" in answer.json().values()


LARGE: dict[str, dict[str, Any]] = {
    "a large file": {"tool_name": "Write", "tool_input": {"file_path": "a.txt", "content": "x" * 1_000_000}},
    "a command too long to be seen": {"tool_name": "Bash", "tool_input": {"command": "ls " + "x" * 1_000_000}},
    "a denied command": {
        "tool_name": "Bash",
        "tool_input": {"command": "rm -rf / " + "x" * 100_000, "more": "x" * 900_000},
    },
    "more than is read": {"tool_name": "Bash", "tool_input": {"command": "ls", "description": "x" * 20_000_000}},
}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("a large file", None),
        ("a command too long to be seen", "ask"),
        ("a denied command", "deny"),
        ("more than is read", "deny"),
    ],
)
async def test_a_large_body_is_decided_as_the_command_decides_it(
    gateway: GatewayProcess, name: str, verdict: str | None
) -> None:
    """Larger than an event may be: cut to size. Larger than anything read: denied, and not by a reset, which an agent
    takes for no objection."""
    payload = {**payloads("claude-code")["PreToolUse"], "cwd": "/tmp", **LARGE[name]}
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/hooks/claude-code", json=payload)
    assert answer.status_code == 200, answer.text
    assert answer.json().get("hookSpecificOutput", {}).get("permissionDecision") == verdict


async def test_a_large_answer_of_a_tool_is_recorded(gateway: GatewayProcess) -> None:
    payload = {**payloads("claude-code")["PostToolUse"], "tool_response": {"stdout": "y" * 2_000_000}}
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/hooks/claude-code", json=payload)
    assert (answer.status_code, answer.json()) == (200, {})
