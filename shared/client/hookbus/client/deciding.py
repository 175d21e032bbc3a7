"""What becomes of a decision that the gateway could not make, or made without seeing everything."""

from __future__ import annotations

from hookbus.client.failing import CLOSED, DECIDED_KIND
from hookbus.client.gateway import Decision
from hookbus.client.identity import IDENTIFIER_CHARS_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hookbus.client.settings import Settings

CAUSE_CHARS_MAX = 500
DEGRADED_SUFFIX = ".degraded"


def refused_input(detail: str) -> Decision:
    """The input guard refused the pre-task: that is a deny, not a fault."""
    return Decision("deny", f"the gateway refuses the input: {detail}", "input_refused")


def degraded(event: dict[str, Any], cause: str, mode: str) -> tuple[Decision, dict[str, Any]]:
    """What the fail mode decides, and the pre-task as it is kept for the log, saying so."""
    verdict = "deny" if mode == CLOSED else "allow"
    decision = Decision(verdict, f"degraded: {cause}; the fail mode is {mode}", "degraded", degraded=True)
    return decision, kept_for_log(event, verdict, cause)


def kept_for_log(event: dict[str, Any], verdict: str, cause: str) -> dict[str, Any]:
    """The pre-task as the log is told of it, with what was decided here.

    It has an id of its own: where the gateway had decided after all and only its answer was lost, the log holds both.
    """
    said = {
        "degraded": True,
        "decision": verdict,
        "degraded_reason": cause[:CAUSE_CHARS_MAX],
        "decided_event_id": event.get("id"),
    }
    kept = {**event, "data": {**event["data"], **said}}
    if "id" in event:
        kept["id"] = f"{event['id'][: IDENTIFIER_CHARS_MAX - len(DEGRADED_SUFFIX)]}{DEGRADED_SUFFIX}"
    return kept


def fallen_back(settings: Settings, event: dict[str, Any], cause: str) -> tuple[Decision, dict[str, Any]]:
    """What the fail mode of the settings decides about a pre-task, and the pre-task as it is kept."""
    if settings.fail_cached:
        from hookbus.client.denials import Denials

        known = Denials(settings.data_dir).of(event)
        if known is not None:
            return still_denied(event, cause, *known)
    return degraded(event, cause, settings.fail_modes.of(DECIDED_KIND))


def remember(settings: Settings, event: dict[str, Any], decision: Decision) -> None:
    """Keep what the fail mode ``cached`` has to know when nobody answers."""
    if settings.fail_cached:
        from hookbus.client.denials import Denials

        Denials(settings.data_dir).note(event, decision)


def still_denied(event: dict[str, Any], cause: str, code: str, reason: str) -> tuple[Decision, dict[str, Any]]:
    """The fail mode ``cached`` knows a denial of this operation, session or budget, and the pre-task for the log."""
    decision = Decision("deny", f"{reason} (as last decided; degraded: {cause})", code, degraded=True)
    return decision, kept_for_log(event, "deny", cause)


def with_unseen(decision: Decision, unseen: list[str]) -> Decision:
    """An allow given on a part of the input becomes a question to the person."""
    if decision.decision != "allow" or not unseen:
        return decision
    reason = f"only a part of the input could be checked, it is too large: {', '.join(unseen)}"
    return Decision("ask", reason, decision.code, body=decision.body)
