"""Gemini CLI: JSON on stdin; a decision is JSON with exit code 0, and exit code 2 blocks whatever was asked.

It knows ``allow`` and ``deny``: what is to be asked is denied, with the question as the reason. Its calls have no ids,
so the id of an operation is derived from what is called with what.
"""

from __future__ import annotations

from hookbus.client.adapters.base import Answer, Context, PayloadError, Translation
from hookbus.client.adapters.common import (
    SystemMessageAdapter,
    derived_operation,
    derived_request,
    edit_data,
    fingerprint,
    renamed,
    said,
)
from hookbus.client.adapters.shaping import shape, unseen_names
from hookbus.client.compactjson import as_list, as_object, as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.gateway import Decision

AGENT_ID_DEFAULT = "gemini"
SOURCE = "hookbus/gemini"
KIND_BY_EVENT = {
    "SessionStart": "session-start",
    "BeforeAgent": "prompt",
    "BeforeTool": "pre-task",
    "AfterTool": "post-task",
    "SessionEnd": "session-end",
}
"""Every other event, known or not, is recorded as a notification under its own name; AfterModel also as usage."""

EDITING_TOOLS = frozenset({"write_file", "replace", "edit"})
_HIDDEN = frozenset({"session_id"})
_RENAMED = {"tool_name": "tool"}
_MODEL_TEXT = frozenset({"llm_request", "llm_response"})


class Gemini(SystemMessageAdapter):
    """Gemini CLI's hook protocol."""

    def translate(self, payload: dict[str, Any], context: Context, *, kind: str | None = None) -> Translation:
        """The event of a payload, and beside it a ``post-edit`` or the ``usage`` of a finished model call."""
        del kind
        name = as_text(payload.get("hook_event_name"))
        if name is None:
            raise PayloadError("the payload has no hook_event_name")
        word = KIND_BY_EVENT.get(name, "notification")
        data = renamed(payload, _RENAMED, _HIDDEN)
        operation = _operation_of(payload)
        if word in {"pre-task", "post-task"}:
            data["operation_id"] = operation
        if word in {"session-start", "pre-task"}:
            data["fingerprint"] = fingerprint(context.fingerprint, payload.get("version"))
        if word == "post-task":
            response = as_object(payload.get("tool_response")) or {}
            data["status"] = "failed" if response.get("error") else "completed"
        if name in {"BeforeModel", "AfterModel"}:
            # What the model reads and says is the agent's own; the record names the call.
            data = {field: value for field, value in data.items() if field not in _MODEL_TEXT}
        shaped = shape(data, to_decide=word == "pre-task")
        event = _event(word, shaped, payload, context)
        if word == "pre-task":
            return Translation(name, pre_task=event, unseen=unseen_names(shaped))
        records = [event]
        edit = _edit_of(payload, operation) if name == "AfterTool" else None
        usage = _usage_of(payload, context.time_text) if name == "AfterModel" else None
        if edit is not None:
            records.append(_event("post-edit", shape(edit, to_decide=False), payload, context))
        if name == "AfterModel":
            # A streamed answer comes in many pieces, each a hook: only the last one, which counts, is kept.
            records = [] if usage is None else [_event("usage", shape(usage, to_decide=False), payload, context)]
        return Translation(name, records=records)

    def answer(self, translation: Translation, decision: Decision) -> Answer:
        """Nothing where nothing is objected to, else ``{"decision": "deny", "reason"}``."""
        del translation
        words = said(decision.reason, decision.code)
        if decision.decision == "allow":
            return Answer({"systemMessage": words}, message=words) if decision.degraded else Answer()
        return Answer({"decision": "deny", "reason": words})


def _event(word: str, data: dict[str, Any], payload: dict[str, Any], context: Context) -> dict[str, Any]:
    agent_id = context.agent(default=AGENT_ID_DEFAULT)
    return context.event(word, agent_id, data, source=SOURCE, session=payload.get("session_id"))


def _operation_of(payload: dict[str, Any]) -> str:
    return derived_operation(payload.get("session_id"), payload.get("tool_name"), payload.get("tool_input"))


def _edit_of(payload: dict[str, Any], operation: str) -> dict[str, Any] | None:
    tool_input = as_object(payload.get("tool_input")) or {}
    response = as_object(payload.get("tool_response")) or {}
    path = as_text(tool_input.get("file_path")) or as_text(tool_input.get("absolute_path"))
    if as_text(payload.get("tool_name")) not in EDITING_TOOLS or path is None or response.get("error"):
        return None
    return edit_data(
        payload.get("tool_name"),
        path,
        tool_input.get("content"),
        created=False,
        operation_id=operation,
        cwd=payload.get("cwd"),
    )


def _usage_of(payload: dict[str, Any], time_text: str) -> dict[str, Any] | None:
    """The usage of a model call that has come to its end; None for a piece in between or without numbers."""
    response = as_object(payload.get("llm_response")) or {}
    numbers = as_object(response.get("usageMetadata")) or {}
    candidates = as_list(response.get("candidates")) or []
    finished = any((as_object(candidate) or {}).get("finishReason") for candidate in candidates)
    total = _count(numbers.get("totalTokenCount"))
    if total == 0 or (candidates and not finished):
        return None
    cached = _count(numbers.get("cachedContentTokenCount"))
    read = _count(numbers.get("promptTokenCount"))
    counts = {
        "input_tokens": max(0, read - cached) + _count(numbers.get("toolUsePromptTokenCount")),
        "cache_read_tokens": cached,
        "output_tokens": _count(numbers.get("candidatesTokenCount")) + _count(numbers.get("thoughtsTokenCount")),
    }
    usage: dict[str, Any] = {"provider": "google", "provenance": "hook", "hook_event_name": "AfterModel"}
    session, told = as_text(payload.get("session_id")) or "", as_text(payload.get("timestamp")) or ""
    request_id = derived_request(session, total, told) or derived_request(session, total, time_text)
    if request_id is not None:
        # The same call comes again by telemetry where that is on, and is to be charged once.
        usage["request_id"] = request_id
    model = as_text((as_object(payload.get("llm_request")) or {}).get("model"))
    if model is not None:
        usage["model"] = model[:128]
    # The kinds are told only where they say all of it: what is missing in them must not go uncounted.
    usage.update(counts if sum(counts.values()) == total else {"tokens_used": total})
    return usage


def _count(value: object) -> int:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else 0


ADAPTER = Gemini()
