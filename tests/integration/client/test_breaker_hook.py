"""Hooks of processes of their own with a gateway that is dead: the breaker, and the fail mode ``cached``."""

import socket
from typing import Any

from support.hookbus_command import Command
from support.scripted_gateway import Request, Response, ScriptedGateway, decision

PRE: dict[str, Any] = {
    "session_id": "s-1",
    "hook_event_name": "PreToolUse",
    "tool_name": "Bash",
    "tool_input": {"command": "ls"},
    "tool_use_id": "toolu_1",
}
DEADLINE_S = 2.0


def test_a_dead_gateway_costs_the_next_hooks_nothing(hookbus: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        slow = [hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=url).elapsed_s for _ in range(2)]
        fast = [hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=url) for _ in range(2)]
    # The second spends what it may on sending what waits, and asks no more.
    assert max(slow) > DEADLINE_S / 2
    assert min(run.elapsed_s for run in fast) < DEADLINE_S / 2
    assert "asked again in" in fast[0].stdout
    assert hookbus.spool()["waiting_events"] == 4


def test_what_was_denied_stays_denied_while_nobody_answers(hookbus: Command) -> None:
    def judge(request: Request) -> Response | None:
        if request.body["data"]["tool_input"]["command"] != "rm":
            return None
        return Response(200, decision(request.body["id"], "deny", "it wipes", "command_refused"))

    def permission(command: str, url: str) -> str | None:
        stdin = {**PRE, "tool_input": {"command": command}}
        run = hookbus("hook", "claude-code", stdin=stdin, HOOKBUS_URL=url, HOOKBUS_FAIL_MODE="cached")
        answer: Any = run.answer or {}
        return answer.get("hookSpecificOutput", {}).get("permissionDecision")

    with ScriptedGateway(judge) as gateway:
        assert (permission("rm", gateway.url), permission("ls", gateway.url)) == ("deny", None)
    assert (permission("rm", "http://127.0.0.1:9"), permission("ls", "http://127.0.0.1:9")) == ("deny", None)
    with ScriptedGateway() as gateway:
        hookbus("spool", "flush", HOOKBUS_URL=gateway.url)
        assert [event["data"]["decision"] for event in gateway.events] == ["deny", "allow"]
        assert all(event["id"] == f"{event['data']['decided_event_id']}.degraded" for event in gateway.events)
