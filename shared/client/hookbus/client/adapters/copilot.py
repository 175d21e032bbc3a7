"""Copilot CLI: a camelCase event name brings a camelCase payload that does not name its event, a PascalCase one a
snake_case payload that does. The command line names the event (``hookbus hook copilot preToolUse``); without it the
payload's fields tell it.

A decision is JSON with exit code 0 in every case: what other exit codes mean differs from release to release.
"""

from __future__ import annotations

from hookbus.client.adapters.base import Adapter, Answer, Context, PayloadError, Translation
from hookbus.client.adapters.common import (
    ANSWER_CHARS_MAX,
    derived_operation,
    edit_data,
    embedded_object,
    fingerprint,
    renamed,
    said,
    unread_names,
)
from hookbus.client.adapters.shaping import shape, unseen_names
from hookbus.client.compactjson import as_object, as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.gateway import Decision

AGENT_ID_DEFAULT = "copilot"
SOURCE = "hookbus/copilot"
KIND_BY_EVENT = {
    "sessionstart": "session-start",
    "userpromptsubmitted": "prompt",
    "userpromptsubmit": "prompt",
    "pretooluse": "pre-task",
    "posttooluse": "post-task",
    "posttoolusefailure": "post-task",
    "sessionend": "session-end",
}
"""By the event's name in lower case. Every other event is recorded as a notification under its own name."""

EVENT_BY_FIELD = (
    ("toolResult", "postToolUse"),
    ("toolName", "preToolUse"),
    ("prompt", "userPromptSubmitted"),
    ("error", "errorOccurred"),
    ("reason", "sessionEnd"),
    ("source", "sessionStart"),
)
"""The first of these fields that a payload has tells what it is about."""

EDITING_TOOLS = frozenset({"edit", "create", "str_replace_editor", "write"})
FAILED_RESULTS = frozenset({"failure", "error", "denied"})
_RENAMED = {
    "toolName": "tool",
    "tool_name": "tool",
    "toolArgs": "tool_input",
    "tool_input": "tool_input",
    "tool_response": "tool_response",
    "toolResult": "tool_response",
    "tool_result": "tool_response",
    "toolUseId": "operation_id",
    "toolCallId": "operation_id",
    "tool_use_id": "operation_id",
}
_HIDDEN = frozenset({"sessionId", "session_id"})


class Copilot(Adapter):
    """Copilot CLI's hook protocol."""

    takes_kind = True

    def translate(self, payload: dict[str, Any], context: Context, *, kind: str | None = None) -> Translation:
        """The event of a payload, and a ``post-edit`` beside it where a tool has changed a file."""
        name = as_text(payload.get("hook_event_name")) or kind or _event_by_fields(payload)
        word = KIND_BY_EVENT.get(name[:64].lower(), "notification")
        data = renamed(payload, _RENAMED, _HIDDEN)
        data["hook_event_name"] = name
        session = payload.get("sessionId") or payload.get("session_id")
        given = data.get("tool_input")
        if word in {"pre-task", "post-task"}:
            data["tool_input"] = embedded_object(given) or ({} if given is None else {"value": given})
            if "operation_id" not in data:
                data["operation_id"] = derived_operation(session, data.get("tool"), data["tool_input"])
        if word in {"session-start", "pre-task"}:
            data["fingerprint"] = fingerprint(context.fingerprint, payload.get("version"))
        failed = name.lower().endswith("failure") or _has_failed(data.get("tool_response"))
        if word == "post-task":
            data["status"] = "failed" if failed else "completed"
        shaped = shape(data, to_decide=word == "pre-task")
        agent_id = context.agent(default=AGENT_ID_DEFAULT)
        event = context.event(word, agent_id, shaped, source=SOURCE, session=session)
        if word == "pre-task":
            unseen = [*unread_names(given), *unseen_names(shaped)]
            return Translation(name, pre_task=event, unseen=unseen)
        records = [event]
        edit = _edit_of(data) if word == "post-task" and not failed else None
        if edit is not None:
            edited = shape(edit, to_decide=False)
            records.append(context.event("post-edit", agent_id, edited, source=SOURCE, session=session))
        return Translation(name, records=records)

    def answer(self, translation: Translation, decision: Decision) -> Answer:
        """Nothing where nothing is objected to, else ``permissionDecision`` with its reason."""
        del translation
        words = said(decision.reason, decision.code)
        if decision.decision == "allow":
            return Answer(message=words if decision.degraded else "")
        return _objection("ask" if decision.decision == "ask" else "deny", words)

    def unreadable(self, reason: str, *, fail_closed: bool) -> Answer:
        """A deny where the fail mode is closed: events that cannot be refused ignore it."""
        words = f"hookbus: degraded: {reason}"[:ANSWER_CHARS_MAX]
        if not fail_closed:
            return Answer(message=words)
        answer = _objection("deny", words)
        answer.message = f"{words}; the fail mode is closed"
        return answer


def _objection(verdict: str, words: str) -> Answer:
    return Answer({"permissionDecision": verdict, "permissionDecisionReason": words})


def _event_by_fields(payload: dict[str, Any]) -> str:
    for field, name in EVENT_BY_FIELD:
        if field in payload:
            return name
    raise PayloadError("the payload names no event, and the command line names none")


def _has_failed(result: object) -> bool:
    told = as_object(result) or {}
    return as_text(told.get("resultType") or told.get("result_type")) in FAILED_RESULTS


def _edit_of(data: dict[str, Any]) -> dict[str, Any] | None:
    tool_input: dict[str, Any] = data["tool_input"]
    path = as_text(tool_input.get("path")) or as_text(tool_input.get("file_path"))
    if as_text(data.get("tool")) not in EDITING_TOOLS or path is None:
        return None
    return edit_data(
        data.get("tool"),
        path,
        tool_input.get("file_text") or tool_input.get("content"),
        created=data.get("tool") == "create",
        operation_id=data["operation_id"],
        cwd=data.get("cwd"),
    )


ADAPTER = Copilot()
