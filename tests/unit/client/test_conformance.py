"""Five agents: recorded-like payloads of each event in, legal events out, each answer in that agent's own schema.

``payloads/<agent>.json`` holds a payload by event; ``schemas/<agent>.json`` a JSON Schema of the answer by event, with
``*`` for every event that has none of its own. The schemas know no more keys than the agents do.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from hookbus.client import adapters, hook
from hookbus.client.adapters.base import Answer, Context, Translation
from hookbus.client.deciding import with_unseen
from hookbus.client.gateway import Decision
from hookbus.contracts.events import ShortEvent
from hookbus.contracts.payloads import PAYLOAD_BY_KIND, AnyPayload

HERE = Path(__file__).parent
AGENTS = ("claude-code", "codex", "gemini", "cursor", "copilot")


def load(folder: str, agent: str) -> dict[str, Any]:
    return json.loads((HERE / folder / f"{agent}.json").read_text(encoding="utf-8"))


PAYLOADS = {agent: load("payloads", agent) for agent in AGENTS}
SCHEMAS = {agent: load("schemas", agent) for agent in AGENTS}
CASES = [(agent, event) for agent in AGENTS for event in PAYLOADS[agent]]
PRE_TASKS = {
    "claude-code": {"PreToolUse"},
    "codex": {"PreToolUse"},
    "gemini": {"BeforeTool"},
    "cursor": {"preToolUse", "beforeShellExecution", "beforeMCPExecution", "beforeReadFile"},
    "copilot": {"preToolUse", "PreToolUse"},
}
DECIDED = [(agent, event) for agent in AGENTS for event in sorted(PRE_TASKS[agent])]
HOSTILE: tuple[Any, ...] = (None, 7, "x" * 5_000, ["a"], {"a": {"b": None}}, "\ud800", '{"broken": ')
SESSION_FIELDS = ("session_id", "conversation_id", "sessionId")


def translated(agent: str, event: str, context: Context, **changes: Any) -> Translation:
    payload = {**PAYLOADS[agent][event], **changes}
    return adapters.load(agent).translate(payload, context, kind=event if agent == "copilot" else None)


def events_of(translation: Translation) -> list[dict[str, Any]]:
    return [translation.pre_task] if translation.pre_task else translation.records


def check_events(translation: Translation) -> list[ShortEvent]:
    checked = [ShortEvent.model_validate(event) for event in events_of(translation)]
    for short in checked:
        PAYLOAD_BY_KIND.get(short.kind, AnyPayload).model_validate(short.data)
    return checked


def check_answer(agent: str, event: str, answer: Answer) -> None:
    """On exit code 0 the agent parses the body; on 2 it blocks and shows stderr, which must say something."""
    assert answer.exit_code in {0, 2}
    if answer.exit_code == 2:
        assert answer.message.strip()
    if answer.body is not None:
        schemas = SCHEMAS[agent]
        Draft202012Validator(schemas.get(event, schemas["*"])).validate(answer.body)


def permission_of(body: dict[str, Any] | None) -> str | None:
    """What an answer says about the call, wherever the agent looks for it."""
    body = body or {}
    specific = body.get("hookSpecificOutput", {})
    return (
        specific.get("permissionDecision")
        or body.get("permissionDecision")
        or body.get("permission")
        or body.get("decision")
    )


@pytest.mark.parametrize(("agent", "event"), CASES)
def test_a_payload_becomes_legal_events_of_its_session(agent: str, event: str, context: Context) -> None:
    translation = translated(agent, event, context)
    session = next(PAYLOADS[agent][event][name] for name in SESSION_FIELDS if name in PAYLOADS[agent][event])
    events = check_events(translation)
    assert events
    assert {(short.agent_id, short.session) for short in events} == {(agent, session)}
    assert (translation.pre_task is not None) is (event in PRE_TASKS[agent])


@pytest.mark.parametrize(("agent", "event"), CASES)
def test_unknown_fields_pass_through(agent: str, event: str, context: Context) -> None:
    first = check_events(translated(agent, event, context, brand_new={"of": ["2027"]}))[0]
    known = first.kind in {"post-edit", "usage"}
    assert known or first.data["brand_new"] == {"of": ["2027"]}


@pytest.mark.parametrize("agent", AGENTS)
def test_an_unknown_event_is_a_record_under_its_name(agent: str, context: Context) -> None:
    payload = {"session_id": "s", "hook_event_name": "SomethingNew2027", "x": 1}
    (event,) = check_events(adapters.load(agent).translate(payload, context))
    assert (event.kind, event.data["hook_event_name"], event.data["x"]) == ("notification", "SomethingNew2027", 1)


@pytest.mark.parametrize(("agent", "event"), CASES)
def test_hostile_fields_still_make_legal_events(agent: str, event: str, context: Context) -> None:
    for field in ("tool_input", "toolArgs", "tool_name", "cwd", "tool_use_id", "error", "file_path"):
        for value in HOSTILE:
            check_events(translated(agent, event, context, **{field: value}))


@pytest.mark.parametrize(("agent", "event"), DECIDED)
@pytest.mark.parametrize("verdict", ["allow", "deny", "ask"])
@pytest.mark.parametrize("degraded", [True, False])
def test_a_decision_fits_the_schema_and_never_grants(
    agent: str, event: str, verdict: str, degraded: bool, context: Context
) -> None:
    translation = translated(agent, event, context)
    decision = Decision(verdict, "r" * 50_000, "cost_exhausted", degraded=degraded)
    answer = adapters.load(agent).answer(translation, decision)
    check_answer(agent, event, answer)
    expected = {"allow": {None}, "deny": {"deny"}, "ask": {"ask", "deny"}}[verdict]
    assert permission_of(answer.body) in expected


@pytest.mark.parametrize(
    ("agent", "event", "word"),
    [
        ("claude-code", "PreToolUse", "ask"),
        ("codex", "PreToolUse", "deny"),
        ("gemini", "BeforeTool", "deny"),
        ("cursor", "beforeShellExecution", "ask"),
        ("cursor", "beforeMCPExecution", "ask"),
        ("cursor", "preToolUse", "deny"),
        ("cursor", "beforeReadFile", "deny"),
        ("copilot", "preToolUse", "ask"),
    ],
)
def test_a_question_the_agent_cannot_put_is_a_deny(agent: str, event: str, word: str, context: Context) -> None:
    answer = adapters.load(agent).answer(translated(agent, event, context), Decision("ask", "why", "session_risk"))
    assert permission_of(answer.body) == word


@pytest.mark.parametrize(("agent", "event"), CASES)
def test_answers_to_records_fit_the_schema(agent: str, event: str, context: Context) -> None:
    adapter, translation = adapters.load(agent), translated(agent, event, context)
    if translation.pre_task is None:
        check_answer(agent, event, adapter.recorded(translation))
        check_answer(agent, event, adapter.undelivered(translation, "hookbus: the gateway is away"))


@pytest.mark.parametrize(("agent", "event"), DECIDED)
def test_what_cannot_be_read_blocks_only_where_the_fail_mode_is_closed(agent: str, event: str) -> None:
    closed = adapters.load(agent).unreadable("why", fail_closed=True)
    check_answer(agent, event, closed)
    assert closed.exit_code == 2 or permission_of(closed.body) == "deny"
    opened = adapters.load(agent).unreadable("why", fail_closed=False)
    check_answer(agent, event, opened)
    assert opened.exit_code == 0
    assert permission_of(opened.body) is None
    assert "why" in opened.message


PAIRS = [
    ("claude-code", "PreToolUse", "PostToolUse"),
    ("codex", "PreToolUse", "PostToolUse"),
    ("gemini", "BeforeTool", "AfterTool"),
    ("cursor", "preToolUse", "postToolUse"),
    ("cursor", "beforeShellExecution", "afterShellExecution"),
    ("cursor", "beforeMCPExecution", "afterMCPExecution"),
    ("copilot", "preToolUse", "postToolUse"),
    ("copilot", "PreToolUse", "PostToolUse"),
]


@pytest.mark.parametrize(("agent", "before", "after"), PAIRS)
def test_before_and_after_are_tied_by_the_operation(agent: str, before: str, after: str, context: Context) -> None:
    pre = check_events(translated(agent, before, context))[0]
    post = check_events(translated(agent, after, context))[0]
    assert pre.data["operation_id"] == post.data["operation_id"]
    assert (pre.kind, post.kind, post.data["status"]) == ("pre-task", "post-task", "completed")
    tool_input = pre.data["tool_input"]
    assert isinstance(tool_input, dict)
    assert tool_input
    assert "value" not in tool_input


def test_codex_notify_is_a_record(context: Context) -> None:
    payload = {
        "type": "agent-turn-complete",
        "thread-id": "th-1",
        "turn-id": "t-1",
        "cwd": "/home/u",
        "input-messages": ["go"],
        "last-assistant-message": "done",
    }
    (event,) = check_events(adapters.load("codex").translate(payload, context))
    assert (event.kind, event.session, event.data["hook_event_name"]) == ("notification", "th-1", payload["type"])
    assert event.data["last_assistant_message"] == "done"


PATCH = "*** Begin Patch\n*** Update File: src/a.py\n@@\n-a\n+b\n*** Add File: /etc/cron.d/x\n+y\n*** End Patch"


@pytest.mark.parametrize("tool_input", [{"command": PATCH}, {"input": PATCH}, {"command": ["apply_patch", PATCH]}])
def test_a_codex_patch_shows_the_guard_its_files(tool_input: dict[str, Any], context: Context) -> None:
    changes = {"tool_name": "apply_patch", "tool_input": tool_input}
    pre = check_events(translated("codex", "PreToolUse", context, **changes))[0]
    assert pre.data["tool_input"] == {**tool_input, "file_paths": ["src/a.py", "/etc/cron.d/x"]}
    post = check_events(translated("codex", "PostToolUse", context, **changes))
    assert [(edit.data["file_path"], edit.data["edit_type"]) for edit in post[1:]] == [
        ("src/a.py", "modify"),
        ("/etc/cron.d/x", "create"),
    ]


def test_gemini_usage_is_told_once_at_the_end_of_a_streamed_answer(context: Context) -> None:
    (usage,) = check_events(translated("gemini", "AfterModel", context))
    assert usage.kind == "usage"
    assert (usage.data["input_tokens"], usage.data["output_tokens"], usage.data["model"]) == (
        1200,
        300,
        "gemini-2.5-pro",
    )
    piece: dict[str, Any] = {"candidates": [{"content": {}}], "usageMetadata": {"totalTokenCount": 7}}
    assert translated("gemini", "AfterModel", context, llm_response=piece).records == []
    unclear = {"usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 900}}
    (total,) = check_events(translated("gemini", "AfterModel", context, llm_response=unclear))
    assert (total.data["tokens_used"], "input_tokens" in total.data) == (900, False)


def test_gemini_and_copilot_edits_are_post_edits(context: Context) -> None:
    write = {"tool_name": "write_file", "tool_input": {"file_path": "/p/a", "content": "é\n"}}
    _, edit = check_events(translated("gemini", "AfterTool", context, **write))
    assert (edit.kind, edit.data["file_path"], edit.data["bytes_after"]) == ("post-edit", "/p/a", 3)
    _, edit = check_events(translated("copilot", "PostToolUse", context))
    assert (edit.kind, edit.data["edit_type"], edit.data["bytes_after"]) == ("post-edit", "create", 2)


@pytest.mark.parametrize(("agent", "event"), DECIDED)
def test_a_command_that_was_cut_is_never_silently_allowed(agent: str, event: str, context: Context) -> None:
    """However many fields were cut before it."""
    cut: Any = 0
    for _ in range(30):
        cut = [cut]
    tool_input = {**{f"a{number}": cut for number in range(16)}, "command": f"echo {'A' * 160_100}; rm -rf /"}
    changes = {"tool_input": tool_input, "toolArgs": json.dumps(tool_input), **tool_input, "file_path": "x" * 160_100}
    translation = translated(agent, event, context, **changes)
    answer = adapters.load(agent).answer(translation, with_unseen(Decision("allow", "", "ok"), translation.unseen))
    assert permission_of(answer.body) in {"ask", "deny"}


@pytest.mark.parametrize("more", ["[" * 3_000 + "]" * 3_000, "1" * 5_000])
@pytest.mark.parametrize(
    ("agent", "event", "field"),
    [
        ("copilot", "preToolUse", "toolArgs"),
        ("copilot", "PreToolUse", "tool_input"),
        ("cursor", "beforeMCPExecution", "tool_input"),
    ],
)
def test_an_input_that_only_its_agent_can_read_is_not_fully_seen(
    agent: str, event: str, field: str, more: str, context: Context
) -> None:
    given = f' {{"command": "rm -rf /", "more": {more}}}'
    assert translated(agent, event, context, **{field: given}).unseen == ["tool_input"]
    assert translated(agent, event, context, **{field: "free text"}).unseen == []


def test_an_input_as_large_as_a_hook_takes_is_read(context: Context) -> None:
    given = json.dumps({"command": "rm -rf /", "more": "x" * (hook.STDIN_BYTES_MAX - 1_000)})
    (event,) = check_events(translated("copilot", "preToolUse", context, toolArgs=given))
    tool_input = event.data["tool_input"]
    assert isinstance(tool_input, dict)
    assert tool_input["command"] == "rm -rf /"


def test_cursor_leaves_out_what_is_not_hookbuss_business(context: Context) -> None:
    (read,) = check_events(translated("cursor", "beforeReadFile", context))
    assert read.data["tool_input"] == {"file_path": "/home/u/project/a.ts"}
    assert "content" not in read.data
    assert "user_email" not in read.data
    assert read.data["cwd"] == "/home/u/project"


@pytest.mark.parametrize("event", ["preToolUse", "postToolUse", "userPromptSubmitted", "sessionStart", "sessionEnd"])
def test_a_copilot_payload_without_a_named_event_is_known_by_its_fields(event: str, context: Context) -> None:
    translation = adapters.load("copilot").translate(PAYLOADS["copilot"][event], context)
    assert translation.event_name == event
