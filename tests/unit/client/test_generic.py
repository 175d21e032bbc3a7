"""The generic protocol, and the first system's payloads in it."""

from typing import Any

import pytest

from hookbus.client import adapters
from hookbus.client.adapters.base import Context, PayloadError, Translation
from hookbus.client.adapters.generic import kind_of
from hookbus.client.gateway import Decision
from hookbus.contracts.events import Kind, ShortEvent
from hookbus.contracts.payloads import PAYLOAD_BY_KIND

GENERIC = adapters.load("generic")
PRE = {
    "task_id": "t1",
    "assigned_agent": "coder",
    "description": "write the parser",
    "project": "p",
    "session_id": "s",
    "trace_id": "a1",
    "span_id": "b2",
    "metadata": {"k": 1},
}
POST = {
    "task_id": "t1",
    "agent_id": "coder",
    "agent_type": "developer",
    "status": "success",
    "duration": 1.5,
    "files_modified": ["a.py"],
    "commands_executed": 2,
    "cost_usd": 0.02,
    "tokens_used": 100,
}
EDIT = {"file_path": "a.py", "agent_id": "coder", "edit_type": "modify", "lines_before": 1, "lines_after": 2}


def translated(context: Context, payload: dict[str, Any], kind: str | None = None):
    translation = GENERIC.translate(payload, context, kind=kind)
    event = translation.pre_task or translation.records[0]
    short = ShortEvent.model_validate(event)
    if short.kind in PAYLOAD_BY_KIND:
        PAYLOAD_BY_KIND[short.kind].model_validate(short.data)
    return event


@pytest.mark.parametrize(("payload", "kind"), [(PRE, "pre-task"), (POST, "post-task"), (EDIT, "post-edit")])
@pytest.mark.parametrize("field", ["kind", "hook", "hook_event_name", None])
def test_the_first_systems_shapes_are_taken_wherever_the_kind_stands(
    payload: dict[str, Any], kind: str, field: str | None, context: Context
) -> None:
    given = payload if field is None else {**payload, field: kind}
    event = translated(context, given, kind if field is None else None)
    assert (event["kind"], event["agent_id"]) == (kind, "coder")


def test_pre_and_post_are_tied_by_the_task_id(context: Context) -> None:
    pre, post = translated(context, PRE, "pre-task"), translated(context, POST, "post-task")
    assert pre["data"]["operation_id"] == post["data"]["operation_id"] == "t1"
    assert (pre["session"], pre["project"]) == ("s", "p")
    assert (post["data"]["cost"], post["data"]["tokens_used"]) == ("0.020000", 100)


def test_short_trace_ids_stay_in_the_data_and_long_ones_become_the_trace(context: Context) -> None:
    short = translated(context, PRE, "pre-task")
    assert short["traceparent"] == context.traceparent
    assert (short["data"]["trace_id"], short["data"]["span_id"]) == ("a1", "b2")
    long = translated(context, {**PRE, "trace_id": "c" * 32, "span_id": "d" * 16}, "pre-task")
    assert long["traceparent"] == "00-" + "c" * 32 + "-" + "d" * 16 + "-01"


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_of_the_wire_is_known(kind: str, context: Context) -> None:
    translation = GENERIC.translate({"agent_id": "a"}, context, kind=kind)
    assert (translation.pre_task or translation.records[0])["kind"] == kind
    assert (translation.pre_task is not None) is (kind is Kind.PRE_TASK)


@pytest.mark.parametrize(
    ("word", "kind"), [("preTask", "pre-task"), ("post_edit", "post-edit"), ("PreTask", "pre-task")]
)
def test_other_spellings_of_a_kind(word: str, kind: str) -> None:
    assert kind_of(word) == kind


def test_an_unknown_kind_is_recorded_under_its_name(context: Context) -> None:
    event = translated(context, {"agent_id": "a", "kind": "moon-phase", "phase": "full"})
    assert (event["kind"], event["data"]["hook_event_name"], event["data"]["phase"]) == (
        "notification",
        "moon-phase",
        "full",
    )


def test_the_short_form_of_an_event_is_taken_too(context: Context) -> None:
    event = translated(context, {"kind": "pre-task", "agent_id": "a", "data": {"tool": "Bash", "operation_id": "o"}})
    assert (event["data"]["tool"], event["data"]["operation_id"]) == ("Bash", "o")


def test_the_configured_agent_goes_before_the_payloads(context: Context) -> None:
    context.agent_id = "configured"
    assert translated(context, PRE, "pre-task")["agent_id"] == "configured"


def test_nested_tags_become_attributes(context: Context) -> None:
    payload = {**PRE, "agent": {"name": "n", "category": "testing"}, "intent": {"primary": "bugfix"}}
    event = translated(context, payload, "pre-task")
    assert (event["agent_category"], event["intent"]) == ("testing", "bugfix")


@pytest.mark.parametrize("agent", ["agent\n", "a b", "x" * 65, "é"])
def test_an_illegal_agent_id_is_refused_and_not_renamed(agent: str, context: Context) -> None:
    with pytest.raises(PayloadError):
        GENERIC.translate({**PRE, "assigned_agent": agent}, context, kind="pre-task")


def test_a_payload_without_a_kind_is_refused(context: Context) -> None:
    with pytest.raises(PayloadError):
        GENERIC.translate(PRE, context)


@pytest.mark.parametrize(("verdict", "exit_code"), [("allow", 0), ("deny", 2), ("ask", 2)])
def test_the_answer(verdict: str, exit_code: int) -> None:
    given = GENERIC.answer(Translation("pre-task"), Decision(verdict, "why", "ok"))
    assert given.body == {"decision": verdict, "reason": "why", "code": "ok"}
    assert given.exit_code == exit_code
    assert ("why" in given.message) is (exit_code == 2)


def test_what_cannot_be_read_is_decided_by_the_fail_mode() -> None:
    closed, opened = (GENERIC.unreadable("why", fail_closed=mode) for mode in (True, False))
    assert (closed.exit_code, closed.body) == (2, {"decision": "deny", "reason": "why", "code": "degraded"})
    assert (opened.exit_code, opened.body) == (0, {"decision": "allow", "reason": "why", "code": "degraded"})
