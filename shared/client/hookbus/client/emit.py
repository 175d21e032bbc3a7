"""``hookbus emit KIND``: publish one event from a shell or a script."""

from __future__ import annotations

import sys

from hookbus.client import arguments as options
from hookbus.client import delivery, identity
from hookbus.client.adapters.base import KINDS, NAME_CHARS_MAX
from hookbus.client.adapters.shaping import conform
from hookbus.client.arguments import UsageError
from hookbus.client.compactjson import NotJsonError, as_object, dumps, loads
from hookbus.client.gateway import Gateway, deadline_in
from hookbus.client.hook import say
from hookbus.client.settings import Settings
from hookbus.client.spool import SpoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

USAGE = (
    "usage: hookbus emit KIND --agent ID [--project P] [--session S] [--data JSON|-] [--id ID] [--json]\n"
    f"KIND is one of: {', '.join(sorted(KINDS))}"
)
EMIT_DEADLINE_S = 10.0
DATA_BYTES_MAX = 256 * 1024
EXIT_DONE = 0
EXIT_REFUSED = 1
EXIT_USAGE = 2
EXIT_AWAY = 3
_VALUED = frozenset({"agent", "project", "session", "data", "id"})


def run(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Publish, print the event's id, and return 0; 1 refused, 2 wrong usage, 3 the event waits in the spool."""
    settings = Settings(environ)
    try:
        positionals, values, flags = options.parse(arguments, valued=_VALUED, flags=frozenset({"json", "help"}))
        if "help" in flags:
            sys.stdout.write(f"{USAGE}\n")
            return EXIT_DONE
        event = _event(positionals, values, settings, environ)
    except UsageError as error:
        say(f"hookbus emit: {error}\n{USAGE}")
        return EXIT_USAGE
    deadline = deadline_in(settings.deadline_s or EMIT_DEADLINE_S)
    try:
        gateway = Gateway(settings.endpoint, settings.api_key, tracestate=identity.tracestate(environ))
        done = delivery.deliver(settings, gateway, [event], deadline=deadline)
    except SpoolError as error:
        say(f"hookbus emit: NOT RECORDED: {error}")
        return EXIT_AWAY
    outcome = "accepted" if done.accepted else "spooled" if done.spooled else "refused"
    if "json" in flags:
        shown = {"id": event["id"], "outcome": outcome, "seq": done.accepted.get(event["id"]), "problem": done.problem}
        sys.stdout.write(dumps(shown).decode() + "\n")
    elif outcome != "refused":
        sys.stdout.write(f"{event['id']}\n")
    if done.problem is not None:
        kept = "; kept in the spool, hookbus spool flush sends it" if done.spooled else ""
        say(f"hookbus emit: {done.problem}{kept}")
    if outcome == "accepted":
        return EXIT_DONE
    return EXIT_REFUSED if outcome == "refused" or done.credential_refused else EXIT_AWAY


def _event(
    positionals: list[str], values: dict[str, str], settings: Settings, environ: Mapping[str, str]
) -> dict[str, Any]:
    if settings.fault is not None:
        raise UsageError(settings.fault)
    if len(positionals) != 1 or positionals[0] not in KINDS:
        raise UsageError("one KIND is wanted")
    agent_id = values.get("agent") or settings.agent_id
    if agent_id is None or not identity.is_agent_id(agent_id):
        raise UsageError("--agent wants 1-64 of a-z A-Z 0-9 _ -")
    event: dict[str, Any] = {
        "id": _legal(values, "id") or identity.event_id(),
        "kind": positionals[0],
        "agent_id": agent_id,
        "source": "hookbus/emit",
        "time": identity.time_text(),
        "traceparent": identity.traceparent(environ),
        "data": conform(_data(values.get("data"))),
    }
    project = values.get("project")
    if project is not None and not identity.consists_of(
        project, identity.SCOPE_NAME_ALPHABET, identity.SCOPE_NAME_CHARS_MAX
    ):
        raise UsageError("--project wants 1-64 of a-z A-Z 0-9 . _ -")
    optional = {"project": project or settings.project, "session": _legal(values, "session")}
    event.update({name: value for name, value in optional.items() if value})
    return event


def _legal(values: dict[str, str], name: str) -> str | None:
    value = values.get(name)
    if value is not None and not identity.is_identifier(value):
        raise UsageError(f"--{name} wants 1-{NAME_CHARS_MAX} of a-z A-Z 0-9 . _ : -")
    return value


def _data(given: str | None) -> dict[str, Any]:
    text = given or "{}"
    if given == "-":
        raw = sys.stdin.buffer.read(DATA_BYTES_MAX + 1)
        if len(raw) > DATA_BYTES_MAX:
            raise UsageError(f"the data is over {DATA_BYTES_MAX} bytes")
        text = raw.decode("utf-8", "replace")
    try:
        data = as_object(loads(text))
    except NotJsonError as error:
        raise UsageError(f"--data is not JSON: {error}") from None
    if data is None:
        raise UsageError("--data wants a JSON object")
    return data
