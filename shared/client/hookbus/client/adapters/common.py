"""What several agents' adapters do alike."""

from __future__ import annotations

from hookbus.client.adapters.base import Adapter, Answer, Translation
from hookbus.client.compactjson import NotJsonError, as_object, as_text, dumps, loads
from hookbus.client.identity import digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ANSWER_CHARS_MAX = 9_000
"""Below the 10,000 characters at which an agent cuts the strings of an answer."""

EMBEDDED_JSON_CHARS_MAX = 32 * 1024 * 1024
"""As much as a hook takes: an input that is not read for its size is one that nobody judges."""

VERSION_CHARS_MAX = 128
OPERATION_DIGITS = 40
MINUTE_CHARS = len("2026-11-23T12:00")


def renamed(payload: dict[str, Any], names: Mapping[str, str], hidden: frozenset[str]) -> dict[str, Any]:
    """The payload under the wire's names; a field that has such a name itself moves out of the way.

    ``names`` is the agent's name -> the wire's; ``hidden`` fields are said elsewhere in the event.
    """
    meant = frozenset(names.values()) - frozenset(names)
    data = {
        f"raw_{name}" if name in meant else name: value
        for name, value in payload.items()
        if name not in names and name not in hidden
    }
    data.update({names[given]: value for given, value in payload.items() if given in names})
    return data


def said(decision_reason: str, code: str) -> str:
    """The reason of a decision as the agent is told it."""
    return f"hookbus: {decision_reason} [{code}]"[:ANSWER_CHARS_MAX]


def derived_operation(*parts: object) -> str:
    """An operation id for an agent that gives its calls none: equal before and after one call of a tool."""
    return "op-" + digest(dumps(list(parts)))[:OPERATION_DIGITS]


def derived_request(session: str, total_tokens: int, utc_time: str) -> str | None:
    """A request id for a model call that has none, equal wherever the call is reported; None where it cannot be told.

    A session's calls grow with what was said before, so two of them within one minute (``utc_time`` is RFC 3339) with
    the same number of tokens are taken for one call that two sources report.
    """
    minute, rest = utc_time[:MINUTE_CHARS], utc_time[MINUTE_CHARS:]
    if not session or total_tokens <= 0 or not rest.startswith(":") or not rest.endswith(("Z", "+00:00")):
        return None
    return "rq-" + digest(dumps([session, total_tokens, minute]))[:OPERATION_DIGITS]


def embedded_object(value: object) -> dict[str, Any] | None:
    """An object that came as one or as its JSON text; None for anything else."""
    if isinstance(value, str) and len(value) <= EMBEDDED_JSON_CHARS_MAX:
        try:
            value = loads(value)
        except NotJsonError:
            return None
    return as_object(value)


def unread_names(tool_input: object) -> list[str]:
    """Names an input whose text looks like an object and cannot be read here: its agent may read it all the same."""
    text = as_text(tool_input)
    unread = text is not None and text.lstrip().startswith("{") and embedded_object(text) is None
    return ["tool_input"] if unread else []


def fingerprint(context_fingerprint: dict[str, str], version: object) -> dict[str, str]:
    """Where the hook runs, with the agent's version where the payload tells it."""
    named = as_text(version)
    return {**context_fingerprint, "agent_version": named[:VERSION_CHARS_MAX]} if named else context_fingerprint


def edit_data(
    tool: object, path: str, content: object, *, created: bool, operation_id: object, **more: object
) -> dict[str, Any]:
    """The ``post-edit`` data of a tool that has changed a file, without the text it wrote."""
    edit: dict[str, Any] = {
        "operation_id": operation_id,
        "tool": tool,
        "file_path": path,
        "edit_type": "create" if created else "modify",
        **more,
    }
    text = as_text(content)
    if text is not None:
        edit["bytes_after"] = len(text.encode("utf-8", "replace"))
        edit["lines_after"] = text.count("\n") + (not text.endswith("\n"))
    return {name: value for name, value in edit.items() if value is not None}


class SystemMessageAdapter(Adapter):
    """An agent that blocks by exit code 2 and shows a ``systemMessage`` to the person."""

    def unreadable(self, reason: str, *, fail_closed: bool) -> Answer:
        """Exit code 2 blocks whatever was asked; otherwise a warning the person sees."""
        words = f"hookbus: degraded: {reason}"[:ANSWER_CHARS_MAX]
        if fail_closed:
            return Answer(exit_code=2, message=f"{words}; the fail mode is closed")
        return Answer({"systemMessage": words}, message=words)

    def unrecorded(self, translation: Translation, note: str) -> Answer | None:
        """A prompt is blocked by exit code 2, with the reason on stderr; what has happened cannot be."""
        if any(record["kind"] == "prompt" for record in translation.records):
            return Answer(exit_code=2, message=note)
        return None

    def undelivered(self, translation: Translation, note: str) -> Answer:
        """Said to the person once, when the session starts; on stderr always."""
        if translation.event_name == "SessionStart":
            return Answer({"systemMessage": note[:ANSWER_CHARS_MAX]}, message=note)
        return Answer(message=note)
