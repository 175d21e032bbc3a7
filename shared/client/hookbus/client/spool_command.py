"""``hookbus spool status|flush|rejected``: what waits in the file fallback, sending it now, what was refused.

``hookbus spool new-key FILE`` makes the key under which events wait.
"""

from __future__ import annotations

import sys

from hookbus.client import arguments as options
from hookbus.client import delivery
from hookbus.client.arguments import UsageError
from hookbus.client.compactjson import dumps
from hookbus.client.drain import DrainReport, drain, rejected, status
from hookbus.client.gateway import CredentialRefusedError, Gateway, GatewayAwayError, deadline_in
from hookbus.client.hook import say
from hookbus.client.settings import Settings
from hookbus.client.spool import SpoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from hookbus.client.spool import Spool

USAGE = "usage: hookbus spool status|flush|rejected [--json]\n       hookbus spool new-key FILE"
BATCH_DEADLINE_S = 10.0
DRAIN_LOCK_WAIT_S = 5.0
EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_AWAY = 3
ACTIONS = ("status", "flush", "rejected", "new-key")


def run(arguments: list[str], environ: Mapping[str, str]) -> int:
    """0 done, 1 refused or unreadable, 2 wrong usage, 3 the gateway is away and events still wait."""
    settings = Settings(environ)
    try:
        action, flags, file = _parse(arguments, settings)
    except UsageError as error:
        say(f"hookbus spool: {error}\n{USAGE}")
        return EXIT_USAGE
    if "help" in flags:
        sys.stdout.write(f"{USAGE}\n")
        return EXIT_DONE
    store = delivery.open_spool(settings)
    as_json = "json" in flags
    actions = {
        "status": lambda: _status(store, as_json=as_json),
        "flush": lambda: _flush(store, settings, as_json=as_json),
        "rejected": lambda: _rejected(store),
        "new-key": lambda: _new_key(file),
    }
    try:
        return actions[action]()
    except (SpoolError, OSError) as error:
        say(f"hookbus spool: {error}")
        return EXIT_FAILED


def _parse(arguments: list[str], settings: Settings) -> tuple[str, set[str], str]:
    positionals, _, flags = options.parse(arguments, valued=frozenset(), flags=frozenset({"json", "help"}))
    action, *rest = positionals or [""]
    if "help" not in flags and (action not in ACTIONS or len(rest) != (1 if action == "new-key" else 0)):
        raise UsageError(f"one of {', '.join(ACTIONS)} is wanted, and new-key wants a file")
    if settings.fault is not None and action == "flush":
        raise UsageError(settings.fault)
    return action, flags, "".join(rest)


def _rejected(store: Spool) -> int:
    for entry in rejected(store):
        sys.stdout.write(entry.decode("utf-8", "replace") + "\n")
    return EXIT_DONE


def _new_key(path: str) -> int:
    from hookbus.client import sealing

    sealing.new_key_file(path)
    sys.stdout.write(f"{path}\n")
    say(f"hookbus spool: set HOOKBUS_SPOOL_KEY_FILE={path}; without this file what waits under it cannot be read")
    return EXIT_DONE


def _status(store: Spool, *, as_json: bool) -> int:
    state = status(store)
    if as_json:
        sys.stdout.write(dumps(state).decode() + "\n")
        return EXIT_DONE
    since = f", the oldest since {state['oldest_at']}" if state["oldest_at"] else ""
    sys.stdout.write(
        f"{state['folder']}\n"
        f"waiting     {state['waiting_events']} events, {state['waiting_bytes']} of {state['bytes_max']} bytes{since}\n"
        f"rejected    {state['rejected_events']} events (rejected.jsonl)\n"
        f"quarantined {state['quarantined_bytes']} bytes (quarantine.bin)\n"
    )
    for key_id, count in state["sealed_otherwise"].items():
        sys.stdout.write(f"set aside   {count} events sealed with the key {key_id}\n")
    return EXIT_DONE


def _flush(store: Spool, settings: Settings, *, as_json: bool) -> int:
    gateway = Gateway(settings.endpoint, settings.api_key)
    batch_s = settings.deadline_s or BATCH_DEADLINE_S
    if store.key_file is not None:
        store.restore()
    report = drain(
        store,
        lambda batch: gateway.publish(batch, deadline=deadline_in(batch_s), replayed=True),
        wait_s=DRAIN_LOCK_WAIT_S,
    )
    state = status(store)
    shown: dict[str, Any] = {
        "sent": len(report.sent),
        "rejected": len(report.refused),
        "quarantined": report.quarantined,
        "sealed_otherwise": report.sealed_otherwise,
        "waiting_events": state["waiting_events"],
        "problem": _problem(report),
    }
    if as_json:
        sys.stdout.write(dumps(shown).decode() + "\n")
    else:
        sys.stdout.write(
            f"sent {shown['sent']}, rejected {shown['rejected']}, quarantined {shown['quarantined']}, "
            f"waiting {shown['waiting_events']}\n"
        )
    if shown["problem"] is not None:
        say(f"hookbus spool: {shown['problem']}")
    if report.refused:
        say(f"hookbus spool: what the gateway refused is kept in {store.folder}/rejected.jsonl: hookbus spool rejected")
    for key_id, count in report.sealed_otherwise.items():
        say(
            f"hookbus spool: {count} events are sealed with another key ({key_id}) and set aside; nothing is lost: "
            "set HOOKBUS_SPOOL_KEY_FILE to that key and flush again"
        )
    if isinstance(report.error, GatewayAwayError):
        return EXIT_AWAY
    faults = (report.error, report.refused, report.busy, report.sealed_otherwise)
    return EXIT_FAILED if any(faults) else EXIT_DONE


def _problem(report: DrainReport) -> str | None:
    if report.busy:
        return "another process is sending the spool"
    if isinstance(report.error, CredentialRefusedError):
        return f"{report.error}; nothing is lost, flush again with a valid key"
    return None if report.error is None else str(report.error)
