"""What a hook answered to a trial, read as the agent reads it, and what it proves."""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from hookbus.cli.doctor.findings import Finding, bad, good

HARMLESS: Final = "true"
MUST_DENY: Final = "rm -rf /"
CODE_MUST_DENY: Final = "command_refused"
"""Any other code denies ``MUST_DENY`` for what has nothing to do with it, as it would deny everything."""
DETAIL_CHARS_MAX: Final = 300

_CODE: Final = re.compile(r"\[([a-z_]+)\]\s*$")
_REMEDIES: Final = {
    "session_terminated": "run: hookbus session list, and hookbus session show SESSION, for who ended it and why",
    "session_risk": "run: hookbus session list, and hookbus session show SESSION, for what speaks against it",
    "tokens_exhausted": "run: hookbus budget list; raise that limit, or wait for its next window",
    "cost_exhausted": "run: hookbus budget list; raise that limit, or wait for its next window",
    "operation_too_expensive": "run: hookbus budget list; raise the limit of a single operation",
}


@dataclass
class Outcome:
    """What one trial gave. ``fault`` says that the agent got no answer it could go by."""

    elapsed_s: float
    fault: str | None = None
    remedy: str | None = None
    """What to do about the fault, where that is known."""
    permission: str | None = None
    reason: str = ""
    said: str = ""
    """All that came back, for a person."""

    @property
    def blocks(self) -> bool:
        """Whether the tool does not run."""
        return self.permission in ("deny", "blocked")

    @property
    def objects(self) -> bool:
        """Whether the tool does not run, or a person is asked first."""
        return self.blocks or self.permission == "ask"

    @property
    def degraded(self) -> bool:
        """Whether not the gateway decided but the fail mode."""
        return "degraded" in self.said

    @property
    def code(self) -> str | None:
        """The decision's code, where the answer carries it."""
        found = _CODE.search(self.reason)
        return found[1] if found else None

    def read(self, text: str) -> None:
        """Take the agent's JSON; nothing is no objection."""
        try:
            answer: Any = json.loads(text) if text.strip() else {}
            specific: Any = answer.get("hookSpecificOutput") or {}
            self.permission = _first(specific, answer, names=("permissionDecision", "permission", "decision"))
            self.reason = _first(specific, answer, names=("permissionDecisionReason", "user_message", "reason")) or ""
        except (ValueError, AttributeError):
            self.fault = f"the answer is not a JSON object: {self.said}"


def words(*parts: str) -> str:
    """On one line, for a finding's detail."""
    return " ".join(" ".join(parts).split())[:DETAIL_CHARS_MAX]


def of_harmless(name: str, outcome: Outcome) -> Finding:
    """A guard that lets nothing through guards, but proves nothing by a deny."""
    if outcome.degraded:
        return bad(
            name, f"a harmless command is not decided: {outcome.said}", "mend what the message names, then again"
        )
    if outcome.objects:
        verb = "asked about" if outcome.permission == "ask" else "denied"
        remedy = _REMEDIES.get(outcome.code or "", "mend what the message names, then again")
        return bad(
            name, f"a harmless command (`{HARMLESS}`) is {verb}: {words(outcome.reason or outcome.said)}", remedy
        )
    return good(name, f"a harmless command is answered in {outcome.elapsed_s * 1_000:.0f} ms")


def of_denied(name: str, outcome: Outcome) -> Finding:
    """The deny must come, and for what the command is."""
    if outcome.fault is not None or not outcome.blocks:
        answer = outcome.fault or outcome.permission or "no objection"
        return bad(name, f"`{MUST_DENY}` is not denied: {answer}", "check HOOKBUS_URL: is that a hookbus gateway?")
    if outcome.code not in (None, CODE_MUST_DENY):
        remedy = _REMEDIES.get(outcome.code or "", "mend what the message names, then again")
        detail = f"`{MUST_DENY}` is denied, but not for what it is: {words(outcome.reason)}"
        return bad(name, f"{detail}; whether it else would be is not known", remedy)
    return good(name, f"`{MUST_DENY}` is denied")


def _first(*places: Any, names: tuple[str, ...]) -> str | None:
    found = next((place.get(name) for name in names for place in places if place.get(name)), None)
    return found if isinstance(found, str) else None
