"""Codex CLI: Claude Code's shapes with fewer words, and ``notify`` with its JSON as the last argument.

Codex refuses an answer with a key it does not know and of the permissions takes ``deny`` alone; an answer it refuses
lets the tool run. So what is to be asked is denied, with the question as the reason.
"""

from __future__ import annotations

from hookbus.client.adapters.base import PayloadError, Translation
from hookbus.client.adapters.claude_code import ClaudeCode
from hookbus.client.adapters.common import edit_data
from hookbus.client.adapters.shaping import shape
from hookbus.client.compactjson import as_list, as_object, as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.adapters.base import Context

PATCH_TOOL = "apply_patch"
PATCH_RECORDS_MAX = 100
"""Of one patch's files as records of their own; the operation's record holds the patch."""

_PATCH_FIELDS = ("input", "patch", "command")
_PATCH_MARK = "*** "
_PATCH_MARKS = {
    "*** Add File: ": "create",
    "*** Update File: ": "modify",
    "*** Delete File: ": "delete",
    "*** Move to: ": "create",
}


class Codex(ClaudeCode):
    """Codex CLI's hook protocol."""

    agent_id_default = "codex"
    source = "hookbus/codex"
    takes_payload_argument = True

    def translate(self, payload: dict[str, Any], context: Context, *, kind: str | None = None) -> Translation:
        """As Claude Code's; a ``notify`` payload, which has a ``type`` instead of an event name, is a record."""
        name = as_text(payload.get("type"))
        if "hook_event_name" in payload or name is None:
            return super().translate(payload, context, kind=kind)
        if payload.get("thread-id") is None:
            raise PayloadError("the payload has neither a hook_event_name nor a thread-id")
        data = {field.replace("-", "_"): value for field, value in payload.items() if field != "thread-id"}
        data["hook_event_name"] = name
        event = context.event(
            "notification",
            context.agent(default=self.agent_id_default),
            shape(data, to_decide=False),
            source=self.source,
            session=payload.get("thread-id"),
        )
        return Translation(name, records=[event])

    def refine(self, word: str, data: dict[str, Any]) -> None:
        """A patch names its files inside its text: all of them are put where the guard looks for paths."""
        tool_input = _input_of(data)
        if word != "pre-task" or data.get("tool") != PATCH_TOOL:
            return
        paths = [path for path, _ in patched_files(tool_input)]
        if paths:
            data["tool_input"] = {**tool_input, "file_paths": paths}

    def transcript(self, name: str, payload: dict[str, Any]) -> None:
        """None: Codex's own transcripts are of another kind."""
        del name, payload

    def permission(self, verdict: str) -> str:
        """The only permission Codex takes."""
        del verdict
        return "deny"

    def edits(self, payload: dict[str, Any]) -> list[dict[str, Any]]:
        """A record for each file of a patch, up to a bound."""
        if payload.get("tool_name") != PATCH_TOOL:
            return super().edits(payload)
        found: list[dict[str, Any]] = []
        for path, change in patched_files(_input_of(payload))[:PATCH_RECORDS_MAX]:
            edit = edit_data(
                PATCH_TOOL,
                path,
                None,
                created=False,
                operation_id=payload.get("tool_use_id"),
                cwd=payload.get("cwd"),
                turn_id=payload.get("turn_id"),
            )
            edit["edit_type"] = change
            found.append(edit)
        return found


def patched_files(tool_input: dict[str, Any]) -> list[tuple[str, str]]:
    """Path and change (create, modify, delete) of each file that a patch names, as Codex reads it.

    A line ends at a line feed alone, and white space around a header does not count. A line of context that reads like
    a header is taken for one: rather a path too many than one that nobody judges.
    """
    words: list[object] = []
    for field in _PATCH_FIELDS:
        value = tool_input.get(field)
        words += as_list(value) or [value]
    found: list[tuple[str, str]] = []
    for raw in "\n".join(word for word in words if isinstance(word, str)).split("\n"):
        line = raw.strip()
        if line.startswith(_PATCH_MARK):
            found += [(line[len(mark) :], change) for mark, change in _PATCH_MARKS.items() if line.startswith(mark)]
    return found


def _input_of(data: dict[str, Any]) -> dict[str, Any]:
    """A tool's input; a patch that came as its text alone under the name that other releases give it."""
    given = data.get("tool_input")
    text = as_text(given)
    return {"input": text} if text is not None else as_object(given) or {}


ADAPTER = Codex()
