"""Cursor: JSON on stdin and always a JSON answer on stdout: silence could be taken for a hook that failed.

``beforeShellExecution`` and ``beforeMCPExecution`` can put a question to the person; the other events that can be
refused cannot, so what is to be asked is denied there, with the question as the reason.
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
from hookbus.client.compactjson import as_list, as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.gateway import Decision

AGENT_ID_DEFAULT = "cursor"
SOURCE = "hookbus/cursor"
KIND_BY_EVENT = {
    "sessionStart": "session-start",
    "beforeSubmitPrompt": "prompt",
    "preToolUse": "pre-task",
    "beforeShellExecution": "pre-task",
    "beforeMCPExecution": "pre-task",
    "beforeReadFile": "pre-task",
    "beforeTabFileRead": "pre-task",
    "postToolUse": "post-task",
    "postToolUseFailure": "post-task",
    "afterShellExecution": "post-task",
    "afterMCPExecution": "post-task",
    "afterFileEdit": "post-edit",
    "afterTabFileEdit": "post-edit",
    "sessionEnd": "session-end",
}
"""Every other event, known or not, is recorded as a notification under its own name."""

ASKING_EVENTS = frozenset({"beforeShellExecution", "beforeMCPExecution"})
CONTINUING_EVENTS = frozenset({"beforeSubmitPrompt"})
_SHELL_EVENTS = frozenset({"beforeShellExecution", "afterShellExecution"})
_READ_EVENTS = frozenset({"beforeReadFile", "beforeTabFileRead"})
_RENAMED = {"tool_name": "tool", "tool_use_id": "operation_id"}
_HIDDEN = frozenset({"session_id", "conversation_id", "user_email"})


class Cursor(Adapter):
    """Cursor's hook protocol."""

    def translate(self, payload: dict[str, Any], context: Context, *, kind: str | None = None) -> Translation:
        """One event."""
        del kind
        name = as_text(payload.get("hook_event_name"))
        if name is None:
            raise PayloadError("the payload has no hook_event_name")
        word = KIND_BY_EVENT.get(name, "notification")
        data = _edit_of(payload) if word == "post-edit" else _data_of(name, word, payload)
        if word in {"session-start", "pre-task"}:
            data["fingerprint"] = fingerprint(context.fingerprint, payload.get("cursor_version"))
        if word == "post-task":
            data["status"] = "failed" if name == "postToolUseFailure" else "completed"
        data["hook_event_name"] = name
        shaped = shape(data, to_decide=word == "pre-task")
        session = payload.get("conversation_id") or payload.get("session_id")
        agent_id = context.agent(default=AGENT_ID_DEFAULT)
        event = context.event(word, agent_id, shaped, source=SOURCE, session=session)
        if word == "pre-task":
            unseen = [*unread_names(payload.get("tool_input")), *unseen_names(shaped)]
            return Translation(name, pre_task=event, unseen=unseen)
        return Translation(name, records=[event])

    def answer(self, translation: Translation, decision: Decision) -> Answer:
        """``{}`` where nothing is objected to, else ``permission`` with the reason for the person and the agent."""
        words = said(decision.reason, decision.code)
        if decision.decision == "allow":
            return Answer({}, message=words if decision.degraded else "")
        asks = decision.decision == "ask" and translation.event_name in ASKING_EVENTS
        return Answer({"permission": "ask" if asks else "deny", "user_message": words, "agent_message": words})

    def unreadable(self, reason: str, *, fail_closed: bool) -> Answer:
        """Exit code 2 blocks whatever was asked."""
        words = f"hookbus: degraded: {reason}"[:ANSWER_CHARS_MAX]
        if fail_closed:
            body = {"permission": "deny", "user_message": words, "agent_message": words}
            return Answer(body, exit_code=2, message=f"{words}; the fail mode is closed")
        return Answer({}, message=words)

    def recorded(self, translation: Translation) -> Answer:
        """A prompt goes on; of the other events nothing is asked."""
        return Answer({"continue": True} if translation.event_name in CONTINUING_EVENTS else {})

    def unrecorded(self, translation: Translation, note: str) -> Answer | None:
        """A prompt does not go on; what has happened cannot be stopped."""
        if translation.event_name in CONTINUING_EVENTS:
            return Answer({"continue": False, "user_message": note[:ANSWER_CHARS_MAX]}, message=note)
        return None

    def undelivered(self, translation: Translation, note: str) -> Answer:
        """As :meth:`recorded`, and on stderr why."""
        answer = self.recorded(translation)
        answer.message = note
        return answer


def _data_of(name: str, word: str, payload: dict[str, Any]) -> dict[str, Any]:
    data = renamed(payload, _RENAMED, _HIDDEN)
    if word not in {"pre-task", "post-task"}:
        return data
    if name in _SHELL_EVENTS:
        data["tool"] = "Shell"
        data["tool_input"] = {"command": data.pop("command", None)}
    elif name in _READ_EVENTS:
        # The file's text is not what is decided about, and is nobody's business beyond the agent.
        data.pop("content", None)
        data["tool"] = "Read"
        data["tool_input"] = {"file_path": data.pop("file_path", None)}
    else:
        given = data.get("tool_input")
        data["tool_input"] = embedded_object(given) or ({} if given is None else {"value": given})
    roots = as_list(payload.get("workspace_roots")) or []
    if not as_text(data.get("cwd")) and roots:
        data["cwd"] = roots[0]
    if "operation_id" not in data:
        data["operation_id"] = derived_operation(payload.get("generation_id"), data.get("tool"), data["tool_input"])
    return data


def _edit_of(payload: dict[str, Any]) -> dict[str, Any]:
    edits = as_list(payload.get("edits")) or []
    return edit_data(
        "Edit",
        as_text(payload.get("file_path")) or "",
        None,
        created=False,
        operation_id=None,
        edits=len(edits),
        generation_id=payload.get("generation_id"),
        model=payload.get("model"),
    )


ADAPTER = Cursor()
