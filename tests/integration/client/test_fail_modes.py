"""What becomes of an agent when the gateway is away, or nothing can be kept: by the real command."""

from typing import Any

import pytest
from support.hookbus_command import Command, Run
from support.scripted_gateway import Request, Response, ScriptedGateway, decision

from hookbus.client import Client
from hookbus.client.gateway import Decision

AWAY = {"HOOKBUS_URL": "http://127.0.0.1:9", "HOOKBUS_DEADLINE_S": "0.2"}
PRE: dict[str, Any] = {
    "session_id": "s-1",
    "hook_event_name": "PreToolUse",
    "tool_name": "Bash",
    "tool_input": {"command": "ls"},
    "tool_use_id": "toolu_1",
}
PROMPTS: dict[str, dict[str, Any]] = {
    "claude-code": {"hook_event_name": "UserPromptSubmit", "session_id": "s", "prompt": "go"},
    "codex": {"hook_event_name": "UserPromptSubmit", "session_id": "s", "turn_id": "t", "prompt": "go"},
    "gemini": {"hook_event_name": "BeforeAgent", "session_id": "s", "prompt": "go"},
    "cursor": {"hook_event_name": "beforeSubmitPrompt", "conversation_id": "s", "prompt": "go"},
    "generic": {"kind": "prompt", "session_id": "s", "prompt": "go"},
}


def permission(run: Run) -> str | None:
    answer: Any = run.answer or {}
    return answer.get("hookSpecificOutput", {}).get("permissionDecision")


def unkeepable(hookbus: Command) -> None:
    """A spool that cannot take an event."""
    hookbus.data_dir.mkdir(exist_ok=True)
    (hookbus.data_dir / "spool").write_text("a file where a folder should be")


def blocked(agent: str, run: Run) -> bool:
    if agent == "cursor":
        return (run.exit_code, (run.answer or {}).get("continue")) == (0, False)
    return run.exit_code == 2 and run.stdout == ""


@pytest.mark.parametrize("agent", PROMPTS)
@pytest.mark.parametrize("mode", ["closed", "prompt=closed", "open", "cached", "closed,prompt=open", "pre-task=closed"])
def test_a_prompt_that_can_be_kept_nowhere_is_blocked_where_its_mode_is_closed(
    hookbus: Command, agent: str, mode: str
) -> None:
    unkeepable(hookbus)
    run = hookbus("hook", agent, stdin=PROMPTS[agent], **AWAY, HOOKBUS_FAIL_MODE=mode)
    assert "NOT RECORDED" in run.stderr
    if mode in ("closed", "prompt=closed"):
        assert blocked(agent, run)
    else:
        assert (run.exit_code, run.stdout) == (1, "")


def test_what_has_happened_cannot_be_blocked_and_is_an_error_that_is_seen(hookbus: Command) -> None:
    unkeepable(hookbus)
    after = {"hook_event_name": "PostToolUse", "session_id": "s", "tool_name": "Bash"}
    run = hookbus("hook", "claude-code", stdin=after, **AWAY, HOOKBUS_FAIL_MODE="closed")
    assert (run.exit_code, run.stdout) == (1, "")
    assert "NOT RECORDED" in run.stderr


@pytest.mark.parametrize("agent", PROMPTS)
def test_a_prompt_that_waits_in_the_spool_goes_on_in_every_mode(hookbus: Command, agent: str) -> None:
    run = hookbus("hook", agent, stdin=PROMPTS[agent], **AWAY, HOOKBUS_FAIL_MODE="closed")
    assert run.exit_code == 0
    assert not blocked(agent, run)
    assert hookbus.spool()["waiting_events"] == 1


@pytest.mark.parametrize(("mode", "wanted"), [("open,pre-task=closed", "deny"), ("closed,pre-task=open", None)])
def test_a_decision_goes_by_the_mode_of_its_own_kind(hookbus: Command, mode: str, wanted: str | None) -> None:
    hookbus.data_dir.mkdir(exist_ok=True)
    (hookbus.data_dir / "client.toml").write_text(f'fail_mode = "{mode}"\n')
    assert permission(hookbus("hook", "claude-code", stdin=PRE, **AWAY)) == wanted


def test_a_killed_session_and_a_spent_budget_stay_denied_while_nobody_answers(hookbus: Command) -> None:
    """And another session of the same agent goes on, as does everything once the gateway says so again."""

    def judge(request: Request) -> Response | None:
        said = {"killed": ("enough", "session_terminated"), "poor": ("spent", "cost_exhausted")}
        known = said.get(request.body["session"])
        return None if known is None else Response(200, decision(request.body["id"], "deny", *known))

    def ask(session: str, command: str, agent: str, **environ: str) -> Run:
        stdin = {**PRE, "session_id": session, "tool_input": {"command": command}}
        return hookbus(
            "hook", "claude-code", stdin=stdin, HOOKBUS_FAIL_MODE="cached", HOOKBUS_AGENT_ID=agent, **environ
        )

    with ScriptedGateway(judge) as gateway:
        assert permission(ask("killed", "ls", "a", HOOKBUS_URL=gateway.url)) == "deny"
        assert permission(ask("poor", "ls", "b", HOOKBUS_URL=gateway.url)) == "deny"
    killed = ask("killed", "cat", "a", **AWAY)
    assert permission(killed) == "deny"
    assert "enough (as last decided; degraded: " in killed.stdout
    assert permission(ask("killed-not", "cat", "a", **AWAY)) is None
    assert permission(ask("anything", "cat", "b", **AWAY)) == "deny"
    with ScriptedGateway() as gateway:
        assert permission(ask("killed", "cat", "a", HOOKBUS_URL=gateway.url)) is None
    assert permission(ask("killed", "cat", "a", **AWAY)) is None


def test_the_library_remembers_denials_too(hookbus: Command) -> None:
    def ask(url: str) -> Decision:
        client = Client(url, "hbk_test", agent_id="a", data_dir=str(hookbus.data_dir), fail_mode="cached", deadline_s=5)
        return client.decide("Bash", {"command": "ls"}, session="s")

    with ScriptedGateway(
        lambda one: Response(200, decision(one.body["id"], "deny", "no", "command_refused"))
    ) as gateway:
        assert not ask(gateway.url).degraded
    later = ask(AWAY["HOOKBUS_URL"])
    assert (later.decision, later.code, later.degraded) == ("deny", "command_refused", True)
