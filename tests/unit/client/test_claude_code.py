"""Claude Code's payloads in, wire events and Claude Code's own answers out."""

from typing import Any

import pytest

from hookbus.client import adapters
from hookbus.client.adapters.base import Context, PayloadError, Translation
from hookbus.client.adapters.claude_code import KIND_BY_EVENT
from hookbus.client.gateway import Decision
from hookbus.contracts.events import Kind, ShortEvent
from hookbus.contracts.payloads import PAYLOAD_BY_KIND, AnyPayload

COMMON = {
    "session_id": "0b0f6a1e-5f0c-4c58-9d3a-0d6a3f5a1f11",
    "prompt_id": "p-1",
    "transcript_path": "/home/u/.claude/projects/x/0b0f.jsonl",
    "cwd": "/home/u/project",
    "permission_mode": "default",
    "effort": {"level": "medium"},
}
BASH = {"tool_name": "Bash", "tool_input": {"command": "ls -la", "description": "List"}, "tool_use_id": "toolu_01A"}
EDIT = {
    "tool_name": "Edit",
    "tool_input": {"file_path": "/home/u/project/a.py", "old_string": "a", "new_string": "b"},
    "tool_use_id": "toolu_01B",
}
EVENTS = {
    "SessionStart": {"source": "startup", "model": "claude-opus-4-5"},
    "UserPromptSubmit": {"prompt": "fix the bug"},
    "PreToolUse": BASH,
    "PermissionRequest": {"tool_name": "Bash", "tool_input": {"command": "rm x"}},
    "PostToolUse": {**BASH, "tool_response": {"stdout": "a\n", "stderr": "", "interrupted": False}, "duration_ms": 12},
    "PostToolUseFailure": {**BASH, "error": "exit 1", "is_interrupt": False},
    "PostToolBatch": {"tool_calls": [BASH]},
    "SubagentStart": {"agent_id": "a1", "agent_type": "Explore"},
    "SubagentStop": {"agent_id": "a1", "agent_type": "Explore", "last_assistant_message": "done"},
    "Stop": {"stop_hook_active": False, "last_assistant_message": "done"},
    "StopFailure": {"error": "rate_limit"},
    "PreCompact": {"trigger": "auto"},
    "Notification": {"message": "waiting", "notification_type": "idle_prompt"},
    "SessionEnd": {"reason": "exit"},
    "SomethingNew2027": {"brand": {"new": ["field"]}},
}
CLAUDE = adapters.load("claude-code")


def payload(name: str, **changes: Any):
    return {**COMMON, "hook_event_name": name, **EVENTS.get(name, {}), **changes}


def events_of(translation: Any):
    return [translation.pre_task] if translation.pre_task else translation.records


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_becomes_a_legal_event_under_its_own_name(name: str, context: Context) -> None:
    translation = CLAUDE.translate(payload(name), context)
    for event in events_of(translation):
        short = ShortEvent.model_validate(event)
        PAYLOAD_BY_KIND.get(short.kind, AnyPayload).model_validate(short.data)
        assert short.agent_id == "claude-code"
        assert short.session == COMMON["session_id"]
    first = events_of(translation)[0]
    assert first["kind"] == KIND_BY_EVENT.get(name, "notification")
    assert first["data"]["hook_event_name"] == name
    assert (translation.pre_task is not None) is (name == "PreToolUse")


def test_pre_and_post_are_tied_by_the_tool_use_id(context: Context) -> None:
    pre = CLAUDE.translate(payload("PreToolUse"), context).pre_task
    post = CLAUDE.translate(payload("PostToolUse"), context).records[0]
    assert pre is not None
    assert pre["data"]["operation_id"] == post["data"]["operation_id"] == "toolu_01A"
    assert pre["data"]["tool"] == "Bash"
    assert pre["data"]["tool_input"] == BASH["tool_input"]
    assert pre["data"]["cwd"] == COMMON["cwd"]
    assert pre["data"]["fingerprint"] == {"host": "h", "user": "u"}
    assert post["data"]["status"] == "completed"


def test_a_subagent_is_named_in_the_data_and_not_as_the_agent(context: Context) -> None:
    event = CLAUDE.translate(payload("PreToolUse", agent_id="a1", agent_type="Explore"), context).pre_task
    assert event is not None
    assert (event["agent_id"], event["data"]["subagent"], event["data"]["subagent_type"]) == (
        "claude-code",
        "a1",
        "Explore",
    )


@pytest.mark.parametrize("tool", ["Edit", "MultiEdit", "Write", "NotebookEdit"])
def test_a_tool_that_changed_a_file_is_a_post_edit_too(tool: str, context: Context) -> None:
    changed = payload("PostToolUse", **EDIT, tool_response={"type": "update"})
    changed["tool_name"] = tool
    task, edit = CLAUDE.translate(changed, context).records
    assert (task["kind"], edit["kind"]) == (Kind.POST_TASK, Kind.POST_EDIT)
    assert edit["data"]["file_path"] == "/home/u/project/a.py"
    assert edit["data"]["edit_type"] == "modify"
    assert task["id"] != edit["id"]


def test_a_written_file_is_counted_and_its_text_left_out_of_the_edit(context: Context) -> None:
    written = payload(
        "PostToolUse",
        tool_name="Write",
        tool_input={"file_path": "/f", "content": "é\nb"},
        tool_response={"type": "create"},
    )
    edit = CLAUDE.translate(written, context).records[1]["data"]
    assert (edit["edit_type"], edit["bytes_after"], edit["lines_after"]) == ("create", 4, 2)
    assert "content" not in edit


def test_a_failed_edit_changed_nothing(context: Context) -> None:
    records = CLAUDE.translate(payload("PostToolUseFailure", **EDIT, error="no match"), context).records
    assert [(event["kind"], event["data"]["status"]) for event in records] == [("post-task", "failed")]


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"hook_event_name": None},
        {"hook_event_name": 5},
        {"hook_event_name": ""},
    ],
)
def test_a_payload_without_an_event_name_is_refused(broken: dict[str, Any], context: Context) -> None:
    with pytest.raises(PayloadError):
        CLAUDE.translate(broken, context)


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": "a b\n"},
        {"session_id": ["x"]},
        {"session_id": None},
        {"tool_input": "not a mapping"},
        {"tool_input": None},
        {"tool_name": "x" * 5_000},
        {"tool_name": 7},
        {"tool_use_id": {"a": 1}},
        {"tool_use_id": "id with spaces and \ud800"},
        {"cwd": "x" * 10_000},
        {"cwd": 3},
        {"description": "d" * 5_000},
        {"estimated_tokens": -4},
        {"estimated_cost": "free"},
        {"fingerprint": "me"},
        {"operation_id": "mine", "tool": "mine"},
        {"agent_version": "v" * 500},
    ],
)
@pytest.mark.parametrize("name", ["PreToolUse", "PostToolUse"])
def test_hostile_fields_still_make_legal_events(name: str, changes: dict[str, Any], context: Context) -> None:
    for event in events_of(CLAUDE.translate(payload(name, **changes), context)):
        short = ShortEvent.model_validate(event)
        PAYLOAD_BY_KIND[short.kind].model_validate(short.data)


def test_a_field_named_like_hookbus_own_does_not_replace_the_real_one(context: Context) -> None:
    event = CLAUDE.translate(payload("PreToolUse", operation_id="mine", tool="mine"), context).pre_task
    assert event is not None
    assert (event["data"]["operation_id"], event["data"]["tool"]) == ("toolu_01A", "Bash")


def answer(verdict: str, **kwargs: Any):
    return CLAUDE.answer(Translation("PreToolUse"), Decision(verdict, "because", "cost_exhausted", **kwargs))


def test_an_allow_is_no_opinion() -> None:
    assert (answer("allow").body, answer("allow").exit_code) == (None, 0)


@pytest.mark.parametrize("verdict", ["deny", "ask"])
def test_an_objection_is_json_with_exit_code_zero(verdict: str) -> None:
    given = answer(verdict)
    assert given.exit_code == 0
    assert given.body == {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": verdict,
            "permissionDecisionReason": "hookbus: because [cost_exhausted]",
        }
    }


@pytest.mark.parametrize("verdict", ["allow", "deny", "ask"])
@pytest.mark.parametrize("degraded", [True, False])
def test_a_permission_is_never_granted(verdict: str, degraded: bool) -> None:
    body = answer(verdict, degraded=degraded).body or {}
    assert body.get("hookSpecificOutput", {}).get("permissionDecision") != "allow"
    assert set(body) <= {"hookSpecificOutput", "systemMessage"}


def test_a_degraded_allow_warns_the_person() -> None:
    assert "because" in (answer("allow", degraded=True).body or {})["systemMessage"]


def test_reasons_stay_below_the_bound_of_claude_code() -> None:
    given = CLAUDE.answer(Translation("PreToolUse"), Decision("deny", "r" * 50_000, "ok")).body or {}
    assert len(given["hookSpecificOutput"]["permissionDecisionReason"]) < 10_000


def test_what_cannot_be_read_blocks_only_where_the_fail_mode_is_closed() -> None:
    assert CLAUDE.unreadable("why", fail_closed=True).exit_code == 2
    opened = CLAUDE.unreadable("why", fail_closed=False)
    assert opened.exit_code == 0
    assert "why" in (opened.body or {})["systemMessage"]
