"""The generic protocol: any program's pre-task, post-task, post-edit and other events, as JSON on stdin.

A pre-task is answered ``{"decision", "reason", "code"}`` on stdout; exit code 0 means go ahead, 2 means do not, with
the reason on stderr. ``ask`` exits 2 as well: only who can put the question to a person may go on.
"""

from __future__ import annotations

from hookbus.client.adapters.base import KINDS, Adapter, Answer, Context, PayloadError, RefusedPayloadError, Translation
from hookbus.client.adapters.shaping import shape, unseen_names
from hookbus.client.compactjson import as_object, as_text
from hookbus.client.identity import is_traceparent
from hookbus.client.tags import Tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.gateway import Decision

AGENT_ID_DEFAULT = "generic"
SOURCE = "hookbus/generic"
_KIND_FIELDS = ("kind", "hook", "hook_event_name", "event")
_ENVELOPE = frozenset({"kind", "hook", "session_id", "session", "project", "traceparent"})


class Generic(Adapter):
    """Hookbus's own hook protocol, which takes the first system's payloads too."""

    takes_kind = True

    def translate(self, payload: dict[str, Any], context: Context, *, kind: str | None = None) -> Translation:
        """One event. Its kind is the command line's, else the payload's ``kind``, ``hook`` or ``hook_event_name``."""
        given = kind or next((text for field in _KIND_FIELDS if (text := as_text(payload.get(field)))), None)
        if given is None:
            raise PayloadError("the payload names no kind (field kind or hook), and the command line names none")
        word = kind_of(given)
        tags = Tags(payload)
        data = _data_of(payload, word, tags)
        if word is None:
            data["hook_event_name"] = given
        if word in {"session-start", "pre-task"}:
            data.setdefault("fingerprint", context.fingerprint)
        shaped = shape(data, to_decide=word == "pre-task")
        names = (payload.get("agent_id"), payload.get("assigned_agent"), tags.agent)
        try:
            agent_id = context.agent(*names, default=AGENT_ID_DEFAULT)
        except PayloadError as error:
            if word == "pre-task":
                raise RefusedPayloadError(str(error)) from None
            raise
        session = payload.get("session_id") or payload.get("session")
        event = context.event(word or "notification", agent_id, shaped, source=SOURCE, session=session)
        # What is configured goes before what a payload says.
        event.update(
            {name: value for name, value in tags.attributes().items() if name != "project" or name not in event}
        )
        trace = _traceparent_of(payload)
        if trace is not None:
            event["traceparent"] = trace
        if word == "pre-task":
            return Translation(word, pre_task=event, unseen=unseen_names(shaped))
        return Translation(word or given, records=[event])

    def answer(self, translation: Translation, decision: Decision) -> Answer:
        """``{"decision", "reason", "code"}``; 0 to go ahead, 2 not to."""
        del translation
        body = {"decision": decision.decision, "reason": decision.reason, "code": decision.code}
        objection = f"hookbus: {decision.decision}: {decision.reason} [{decision.code}]"
        if decision.decision == "allow":
            return Answer(body, message=objection if decision.degraded else "")
        return Answer(body, exit_code=2, message=objection)

    def unrecorded(self, translation: Translation, note: str) -> Answer | None:
        """Exit code 2 for a prompt; what has happened cannot be stopped."""
        return Answer(exit_code=2, message=note) if translation.event_name == "prompt" else None

    def unreadable(self, reason: str, *, fail_closed: bool) -> Answer:
        """Answered like a pre-task that the fail mode decides."""
        body = {"decision": "deny" if fail_closed else "allow", "reason": reason, "code": "degraded"}
        return Answer(body, exit_code=2 if fail_closed else 0, message=f"hookbus: degraded: {reason}")


def kind_of(text: str) -> str | None:
    """The kind a word means (``preTask``, ``pre_task`` and ``pre-task`` are one), or None for an unknown one."""
    spaced = "".join(f"-{letter}" if letter.isupper() else letter for letter in text[:64])
    word = spaced.lower().replace("_", "-").strip("-")
    return word if word in KINDS else None


def _data_of(payload: dict[str, Any], word: str | None, tags: Tags) -> dict[str, Any]:
    data = {name: value for name, value in payload.items() if name not in _ENVELOPE}
    nested = as_object(data.get("data"))
    if nested is not None:
        # The short form of an event keeps what it says in ``data``.
        del data["data"]
        data.update(nested)
    task = data.get("task_id", tags.task_id)
    if word in {"pre-task", "post-task", "post-edit"} and "operation_id" not in data and task is not None:
        data["operation_id"] = task
    if tags.description is not None:
        data.setdefault("description", tags.description)
    if not isinstance(payload.get("project"), (str, type(None))):
        data["project"] = payload["project"]
    for known, meant in (("tool_name", "tool"), ("cost_usd", "cost")):
        if known in data and meant not in data:
            data[meant] = data.pop(known)
    return data


def _traceparent_of(payload: dict[str, Any]) -> str | None:
    """The trace a payload names, where its ids are W3C ones; shorter ids stay in ``data`` as they came."""
    whole = as_text(payload.get("traceparent"))
    made = f"00-{payload.get('trace_id')}-{payload.get('span_id')}-01".lower()
    return next((text for text in (whole, made) if text and is_traceparent(text)), None)


ADAPTER = Generic()
