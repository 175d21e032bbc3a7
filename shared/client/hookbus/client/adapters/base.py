"""What every adapter takes and gives."""

from __future__ import annotations

from hookbus.client.compactjson import as_object
from hookbus.client.identity import identifier, is_agent_id, scope_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hookbus.client.gateway import Decision

KINDS = frozenset(
    {
        "session-start",
        "prompt",
        "pre-task",
        "post-task",
        "post-edit",
        "usage",
        "notification",
        "session-end",
        "terminal-opened",
        "terminal-output",
        "terminal-closed",
    }
)
"""The words of the wire; the gateway refuses any other."""

NAME_CHARS_MAX = 128
OBJECTIONS = frozenset({"deny", "ask"})


class PayloadError(ValueError):
    """The payload is not one the agent's protocol knows. The text says what is wrong, for a person."""


class RefusedPayloadError(PayloadError):
    """It asks for a decision under a name that no agent may have: that is a deny, not a fault, as at the gateway."""


class Context:
    """What an adapter may know beside the payload."""

    __slots__ = ("agent_id", "fingerprint", "new_event_id", "project", "time_text", "traceparent")

    def __init__(
        self,
        *,
        agent_id: str | None,
        project: str | None,
        fingerprint: dict[str, str],
        traceparent: str,
        time_text: str,
        new_event_id: Callable[[], str],
    ) -> None:
        self.agent_id = agent_id
        """The configured agent id; it goes before what a payload says."""
        self.project = project
        self.fingerprint = fingerprint
        self.traceparent = traceparent
        self.time_text = time_text
        self.new_event_id = new_event_id

    def event(
        self,
        kind: str,
        agent_id: str,
        data: dict[str, Any],
        *,
        source: str,
        session: object = None,
        project: object = None,
    ) -> dict[str, Any]:
        """An event in short form. Session and project are brought into their legal form or left out."""
        event: dict[str, Any] = {
            "id": self.new_event_id(),
            "kind": kind,
            "agent_id": agent_id,
            "source": source,
            "time": self.time_text,
            "traceparent": self.traceparent,
            "data": data,
        }
        named = self.project or (scope_name(project) if isinstance(project, str) else None)
        if named:
            event["project"] = named
        if isinstance(session, (str, int)) and str(session):
            event["session"] = identifier(str(session))
        return event

    def agent(self, *candidates: object, default: str) -> str:
        """The configured agent id, else the first legal candidate, else the default.

        Raises :class:`PayloadError` for a candidate that is a text and no agent id: it must not act under a name
        that is not its own.
        """
        if self.agent_id is not None:
            return self.agent_id
        for candidate in candidates:
            if isinstance(candidate, str) and candidate:
                if not is_agent_id(candidate):
                    raise PayloadError("the agent id is not 1-64 of a-z A-Z 0-9 _ -")
                return candidate
        return default


class Transcript:
    """Where a session writes down what it used, and whether it has stopped writing."""

    __slots__ = ("final", "path", "subagent_path")

    def __init__(self, path: str, subagent_path: str | None, *, final: bool) -> None:
        self.path = path
        self.subagent_path = subagent_path
        self.final = final


class Translation:
    """A payload as events: either one ``pre_task`` to decide, or ``records``."""

    __slots__ = ("event_name", "pre_task", "records", "transcript", "unseen")

    def __init__(
        self,
        event_name: str,
        *,
        records: list[dict[str, Any]] | None = None,
        pre_task: dict[str, Any] | None = None,
        unseen: list[str] | None = None,
        transcript: Transcript | None = None,
    ) -> None:
        self.event_name = event_name
        self.records = records or []
        self.transcript = transcript
        """The transcript that may have grown, where the agent's hooks do not tell what was used."""
        self.pre_task = pre_task
        self.unseen = unseen or []
        """Fields a decision depends on that had to be cut, so that the gateway did not see all of them."""


class Answer:
    """What the agent reads: a JSON body on stdout (or as the HTTP answer), an exit code, words on stderr."""

    __slots__ = ("body", "exit_code", "message")

    def __init__(self, body: dict[str, Any] | None = None, *, exit_code: int = 0, message: str = "") -> None:
        self.body = body
        self.exit_code = exit_code
        self.message = message

    @property
    def objects(self) -> bool:
        """Whether the body keeps the agent from going on, in any agent's words."""
        body = self.body or {}
        told = as_object(body.get("hookSpecificOutput")) or body
        words = {told.get(name) for name in ("permissionDecision", "permission", "decision")}
        return not words.isdisjoint(OBJECTIONS) or body.get("continue") is False


class Adapter:
    """One agent's protocol."""

    takes_kind = False
    """Whether the command line may name the kind, because a payload need not."""

    takes_payload_argument = False
    """Whether the agent may hand its JSON over as the last argument instead of on stdin."""

    def translate(self, payload: dict[str, Any], context: Context, *, kind: str | None = None) -> Translation:
        """The events of a payload. ``kind`` is what the command line names. Raises :class:`PayloadError`."""
        raise NotImplementedError

    def answer(self, translation: Translation, decision: Decision) -> Answer:
        """A decision in the agent's own schema."""
        raise NotImplementedError

    def unreadable(self, reason: str, *, fail_closed: bool) -> Answer:
        """The answer where the payload could not be understood, so that it is not even known what was asked."""
        raise NotImplementedError

    def recorded(self, translation: Translation) -> Answer:
        """The answer where all records were accepted: nothing, for an agent that takes silence as consent."""
        del translation
        return Answer()

    def unrecorded(self, translation: Translation, note: str) -> Answer | None:
        """The answer that stops the agent because records could not be kept anywhere; None where nothing can."""
        del translation, note

    def undelivered(self, translation: Translation, note: str) -> Answer:
        """The answer where records wait in the spool or were refused: the agent goes on, a person may read why."""
        del translation
        return Answer(message=note)
