"""Claude Code: JSON on stdin or as an HTTP body; a decision is JSON with exit code 0.

A permission is never granted, only denied or handed to the person: ``allow`` would skip the person's own prompt.
"""

from __future__ import annotations

from hookbus.client.adapters.base import Answer, Context, PayloadError, Transcript, Translation
from hookbus.client.adapters.common import SystemMessageAdapter, edit_data, fingerprint, renamed, said
from hookbus.client.adapters.shaping import shape, unseen_names
from hookbus.client.compactjson import as_object, as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.gateway import Decision

KIND_BY_EVENT = {
    "SessionStart": "session-start",
    "UserPromptSubmit": "prompt",
    "PreToolUse": "pre-task",
    "PostToolUse": "post-task",
    "PostToolUseFailure": "post-task",
    "SessionEnd": "session-end",
}
"""Every other event, known or not, is recorded as a notification under its own name."""

EDITING_TOOLS = frozenset({"Edit", "MultiEdit", "NotebookEdit", "Write"})
TRANSCRIPT_EVENTS = frozenset({"PostToolUse", "Stop", "SubagentStop", "SessionEnd"})
FINAL_EVENTS = frozenset({"Stop", "SessionEnd"})
_RENAMED = {"tool_name": "tool", "tool_use_id": "operation_id", "agent_id": "subagent", "agent_type": "subagent_type"}
_HIDDEN = frozenset({"session_id"})


class ClaudeCode(SystemMessageAdapter):
    """Claude Code's hook protocol."""

    agent_id_default = "claude-code"
    source = "hookbus/claude-code"

    def translate(self, payload: dict[str, Any], context: Context, *, kind: str | None = None) -> Translation:
        """The event of a payload, and a ``post-edit`` beside it where a tool has changed a file."""
        del kind
        name = as_text(payload.get("hook_event_name"))
        if name is None:
            raise PayloadError("the payload has no hook_event_name")
        word = KIND_BY_EVENT.get(name, "notification")
        data = renamed(payload, _RENAMED, _HIDDEN)
        if word in {"session-start", "pre-task"}:
            version = as_text(payload.get("agent_version")) or payload.get("version")
            data["fingerprint"] = fingerprint(context.fingerprint, version)
        if word == "post-task":
            data["status"] = "failed" if name == "PostToolUseFailure" else "completed"
        self.refine(word, data)
        shaped = shape(data, to_decide=word == "pre-task")
        event = self._event(word, shaped, payload, context)
        if word == "pre-task":
            return Translation(name, pre_task=event, unseen=unseen_names(shaped))
        records = [event]
        if name == "PostToolUse":
            records += [
                self._event("post-edit", shape(edit, to_decide=False), payload, context) for edit in self.edits(payload)
            ]
        return Translation(name, records=records, transcript=self.transcript(name, payload))

    def answer(self, translation: Translation, decision: Decision) -> Answer:
        """No opinion where nothing is objected to; a deny or ask with its reason otherwise."""
        del translation
        words = said(decision.reason, decision.code)
        if decision.decision == "allow":
            return Answer({"systemMessage": words}, message=words) if decision.degraded else Answer()
        return Answer(
            {
                "hookSpecificOutput": {
                    "hookEventName": "PreToolUse",
                    "permissionDecision": self.permission(decision.decision),
                    "permissionDecisionReason": words,
                }
            }
        )

    def transcript(self, name: str, payload: dict[str, Any]) -> Transcript | None:
        """The session's transcript after the events at which it has grown."""
        path = as_text(payload.get("transcript_path"))
        if name not in TRANSCRIPT_EVENTS or path is None or not path.endswith(".jsonl"):
            return None
        subagent = as_text(payload.get("agent_transcript_path"))
        return Transcript(path, subagent, final=name in FINAL_EVENTS)

    def refine(self, word: str, data: dict[str, Any]) -> None:
        """What another agent of the same protocol adds to the data of an event."""
        del word, data

    def permission(self, verdict: str) -> str:
        """The word for an objection."""
        return "ask" if verdict == "ask" else "deny"

    def edits(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        """The ``post-edit`` data of each file that the tool has changed."""
        tool = as_text(payload.get("tool_name"))
        tool_input = as_object(payload.get("tool_input")) or {}
        path = as_text(tool_input.get("file_path")) or as_text(tool_input.get("notebook_path"))
        if tool not in EDITING_TOOLS or path is None:
            return []
        response = as_object(payload.get("tool_response")) or {}
        return [
            edit_data(
                tool,
                path,
                tool_input.get("content"),
                created=response.get("type") == "create",
                operation_id=payload.get("tool_use_id"),
                cwd=payload.get("cwd"),
                subagent=payload.get("agent_id"),
                subagent_type=payload.get("agent_type"),
            )
        ]

    def _event(self, word: str, data: dict[str, Any], payload: dict[str, Any], context: Context) -> dict[str, Any]:
        agent_id = context.agent(default=self.agent_id_default)
        return context.event(word, agent_id, data, source=self.source, session=payload.get("session_id"))


ADAPTER = ClaudeCode()
