"""The last denials and kills, kept for the fail mode ``cached``: what was denied stays denied while nobody answers.

``<data>/denials.json`` maps a key to ``[code, reason, until]``. A killed session is known by its name, a spent budget
by the agent's, any other denial by the very operation.
"""

from __future__ import annotations

import os
import time

from hookbus.client import identity
from hookbus.client.compactjson import NotJsonError, as_list, as_object, dumps, loads
from hookbus.client.spool_files import FILE_MODE, FOLDER_MODE, FileLock, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hookbus.client.gateway import Decision

FILE = "denials.json"
ENTRIES_MAX = 256
FILE_BYTES_MAX = 1024 * 1024
KEPT_S = 24 * 3600.0
BUDGET_KEPT_S = 600.0
"""A spent budget comes back with its window."""

REASON_CHARS_MAX = 500
LOCK_WAIT_S = 0.2
BUDGET_CODES = frozenset({"tokens_exhausted", "cost_exhausted"})


class Denials:
    """The file of one data folder. Never raises: what cannot be kept is not known later."""

    def __init__(self, data_dir: str, clock: Callable[[], float] = time.time) -> None:
        self._path = f"{data_dir}/{FILE}"
        self._clock = clock

    def note(self, event: dict[str, Any], decision: Decision) -> None:
        """Keep a denial; an allow forgets what it contradicts."""
        session, budget, operation = _keys(event)
        known = self._read()
        if decision.decision == "deny":
            key = session if decision.code == "session_terminated" else operation
            key, kept_s = (budget, BUDGET_KEPT_S) if decision.code in BUDGET_CODES else (key, KEPT_S)
            entry = [decision.code, decision.reason[:REASON_CHARS_MAX], self._clock() + kept_s]
            self._change(lambda entries: {**{name: one for name, one in entries.items() if name != key}, key: entry})
        elif decision.decision == "allow" and not known.keys().isdisjoint((session, budget, operation)):
            gone = (session, budget, operation)
            self._change(lambda entries: {name: one for name, one in entries.items() if name not in gone})

    def of(self, event: dict[str, Any]) -> tuple[str, str] | None:
        """Code and reason of the denial that an operation falls under, or None."""
        known = self._read()
        for key in _keys(event):
            entry = as_list(known.get(key)) or []
            if len(entry) == 3 and isinstance(entry[2], (int, float)) and entry[2] > self._clock():
                return str(entry[0]), str(entry[1])
        return None

    def _read(self) -> dict[str, Any]:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return {}
        try:
            return as_object(loads(os.read(descriptor, FILE_BYTES_MAX).decode("utf-8", "replace"))) or {}
        except (OSError, NotJsonError):
            return {}
        finally:
            os.close(descriptor)

    def _change(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        temporary = f"{self._path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self._path), FOLDER_MODE, exist_ok=True)  # noqa: PTH103, PTH120  # pathlib doubles the start time
            with FileLock(f"{self._path}.lock", LOCK_WAIT_S) as locked:
                if not locked:
                    return
                entries = change(self._read())
                newest = dict(list(entries.items())[-ENTRIES_MAX:])
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
                try:
                    write_all(descriptor, dumps(newest))
                finally:
                    os.close(descriptor)
                os.rename(temporary, self._path)  # noqa: PTH104  # as above
        except OSError:
            return


def _keys(event: dict[str, Any]) -> tuple[str, str, str]:
    """The names of an operation's session, of its agent's budget, and of itself."""
    data = as_object(event.get("data")) or {}
    operation = identity.digest(dumps([event.get("agent_id"), data.get("tool"), data.get("tool_input")]))
    return f"session:{event.get('session') or '-'}", f"budget:{event.get('agent_id')}", f"operation:{operation[:40]}"
