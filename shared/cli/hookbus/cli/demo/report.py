"""What the demo shows at its end, and what must have been seen for it to succeed."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from rich.rule import Rule
from rich.text import Text

from hookbus.cli import output, waterfall
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands.budget import remaining_table
from hookbus.cli.commands.session import show_session
from hookbus.cli.demo.player import AGENT_ID, NO_OBJECTION, RUNAWAY, Played
from hookbus.cli.errors import NotFoundError

FoundT = TypeVar("FoundT")

WAIT_S: Final = 15.0
POLL_S: Final = 0.1
HOOK_CALLS_MIN: Final = 40
TRACE_SERVICES: Final = frozenset({"gateway", "session", "budget", "audit"})
"""What a decided pre-task goes through; each sends its spans in its own time."""
REASON_CHARS_MAX: Final = 100
ENTRIES_MAX: Final = 1000


@dataclass(frozen=True)
class Finding:
    """One thing the demo promises, and whether it was seen."""

    what: str
    seen: bool
    detail: str = ""


def judge_hooks(played: Sequence[Played]) -> list[Finding]:
    """Whether every hook answered as recorded, and each kind of denial was really seen."""
    codes = {one.code for one in played if one.decision == "deny"}
    wrong = [one for one in played if not one.as_expected]
    detail = "; ".join(
        f"{one.step.event} {one.step.summary}: {one.decision} {one.reason[:REASON_CHARS_MAX]}" for one in wrong[:3]
    )
    revived = [one for one in played if one.code == "session_terminated"]
    after = played[played.index(revived[-1]) + 1 :] if revived else ()
    resumed = any(one.step.event == "PreToolUse" and one.decision == NO_OBJECTION for one in after)
    runaway = [one for one in played if one.step.group == RUNAWAY and one.step.event == "PreToolUse"]
    return [
        Finding(f"{len(played)} hook calls, at least {HOOK_CALLS_MIN}", len(played) >= HOOK_CALLS_MIN),
        Finding("every hook answered as recorded", not wrong, detail),
        Finding("a path outside the workspace was refused", "path_outside_workspace" in codes),
        Finding(
            f"the runaway subagent met its budget after {max(0, len(runaway) - 1)} rounds",
            len(runaway) > 1 and runaway[-1].code == "tokens_exhausted",
        ),
        Finding("the killed session was refused at its next hook", "session_terminated" in codes),
        Finding("the revived session went on", resumed),
    ]


def show(api: Api, *, url: str, session: str, played: Sequence[Played], events: int) -> list[Finding]:
    """Print what a user came for; returns what was found on the way.

    Raises:
        CliError: the gateway is away or refuses.
    """
    findings = judge_hooks(played)
    _show_decisions(played)
    _heading("Budget left")
    status = api.get(f"/api/v1/budget/status/{AGENT_ID}")
    output.show(remaining_table(f"agent {AGENT_ID}", status.get("remaining", [])))
    _heading("Session and its risk")
    view = _wait(lambda: _ended(api, session))
    findings.append(Finding("the session ended with its last event", view is not None))
    show_session(view or api.get(f"/api/v1/sessions/{session}"))
    _heading("Audit log")
    findings += _audit(api, session, events)
    _heading("One decision, from the hook to every service")
    findings.append(_trace(api, session))
    _heading("Where to look")
    output.show(output.cell(f"Console: {url}/console   API docs: {url}/docs"))
    output.show(output.cell(f"Health: {url}/readyz   metrics: {url}/metrics"))
    output.show(output.cell("This stack stops now. `hookbus up` runs one that stays, with its data in ~/.hookbus."))
    return findings


def show_findings(findings: Sequence[Finding]) -> bool:
    """Print each promise and whether it was kept; true where all were."""
    _heading("Seen")
    for finding in findings:
        mark = Text("  yes  ", style="green") if finding.seen else Text("  NO   ", style="bold red")
        output.show(mark.append(output.plain(finding.what), style="default"))
        if not finding.seen and finding.detail:
            output.show(output.cell(f"       {finding.detail}"))
    return all(finding.seen for finding in findings)


def _heading(text: str) -> None:
    output.show("", Rule(text, align="left", style="dim"))


def _show_decisions(played: Sequence[Played]) -> None:
    _heading("Decisions")
    asked = [one for one in played if one.step.event == "PreToolUse"]
    rows = [
        (output.verdict(one.decision), one.code, one.step.summary, one.reason.removeprefix("hookbus: "))
        for one in asked
        if one.decision != NO_OBJECTION
    ]
    output.show(output.table("", ("decision", "code", "tool call", "reason"), rows))
    walls_ms = sorted(one.wall_s * 1000 for one in played)
    free = sum(one.decision == NO_OBJECTION for one in asked)
    if walls_ms:
        output.show(
            output.cell(
                f"{free} of {len(asked)} tool calls met no objection. A hook call took "
                f"{statistics.median(walls_ms):.0f} ms (median of {len(played)}), {walls_ms[-1]:.0f} ms at most."
            )
        )


def _ended(api: Api, session: str) -> JsonObject | None:
    view = api.get(f"/api/v1/sessions/{session}")
    return view if view.get("state") == "ended" else None


def _audit(api: Api, session: str, events: int) -> list[Finding]:
    def logged() -> list[JsonObject] | None:
        reply = api.get("/api/v1/audit/entries", session=session, limit=ENTRIES_MAX)
        entries: list[JsonObject] = reply.get("entries", [])
        hooks = [one for one in entries if ".security." not in _type(one)]
        return entries if len(hooks) >= events else None

    entries = _wait(logged)
    verified = api.get("/api/v1/audit/verify")
    good = bool(verified.get("ok"))
    words = "verified" if good else f"NOT intact: {verified.get('fault')}"
    line = Text(output.plain(words), style="green" if good else "bold red")
    line.append(f"  {verified.get('checked')} entries encrypted and chained, root {verified.get('root_hash')}")
    output.show(line)
    security = sum(".security." in _type(one) for one in entries or ())
    if entries:
        output.show(output.cell(f"{len(entries)} of this session, {security} of them security events"))
    return [
        Finding(f"every event of the session is in the audit log ({events} and the denials)", entries is not None),
        Finding("the audit log verifies", good, str(verified.get("fault") or "")),
    ]


def _event(entry: JsonObject) -> JsonObject:
    return entry.get("event") or {}


def _type(entry: JsonObject) -> str:
    return str(_event(entry).get("type", ""))


def _trace(api: Api, session: str) -> Finding:
    reply = api.get("/api/v1/audit/entries", session=session, kind="pre-task", limit=ENTRIES_MAX)
    entries: list[JsonObject] = reply.get("entries", [])
    decided = [one for one in entries if _event(one).get("decision") == "allow"]
    if not decided:
        return Finding("one decision's trace", seen=False, detail="no allowed pre-task in the log")
    event_id = str(decided[-1]["event_id"])
    best: list[dict[str, Any]] = []

    def complete() -> bool | None:
        nonlocal best
        try:
            best = api.get(f"/api/v1/traces/{event_id}").get("spans", [])
        except NotFoundError:
            return None
        return True if {span["service"] for span in best} >= TRACE_SERVICES else None

    seen = _wait(complete) is not None
    output.show(waterfall.draw(best, f"event {event_id}"))
    services = sorted({str(span["service"]) for span in best})
    return Finding(f"one decision's trace through {', '.join(services) or 'no service'}", seen=seen)


def _wait(probe: Callable[[], FoundT | None]) -> FoundT | None:
    """What ``probe`` returns once it is not None; None when the time is up."""
    deadline = time.monotonic() + WAIT_S
    while True:
        found = probe()
        if found is not None or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)
