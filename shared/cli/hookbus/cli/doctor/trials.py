"""The installed command, run exactly as the agent would: by a shell, with a payload on stdin."""

import json
import os
import subprocess
import tempfile
import time
from typing import Any, Final

from hookbus.cli.doctor.findings import Finding, bad, good
from hookbus.cli.doctor.installed import Handler
from hookbus.client.failing import CACHED, CLOSED, OPEN
from hookbus.client.settings import Settings

TRIAL_TIMEOUT_S: Final = 10.0
DOWN_MAX_S: Final = 4.0
"""What a hook may take with the gateway down: its deadline of 2 s, and the start of a process."""
DOWN_URL: Final = "http://127.0.0.1:9"
SESSION: Final = "hookbus-doctor"
HARMLESS: Final = "true"
MUST_DENY: Final = "rm -rf /"
DETAIL_CHARS_MAX: Final = 300
WORDS_BY_MODE: Final = {
    OPEN: "it lets the tool run and says so (fail mode open)",
    CLOSED: "it denies",
    CACHED: "it denies what was denied last and lets the rest run, saying so (fail mode cached)",
}


def payload(agent: str, event: str, command: str) -> dict[str, Any]:
    """A shell command as the agent's hook names it."""
    cwd = tempfile.gettempdir()
    if agent == "cursor":
        return {
            "conversation_id": SESSION,
            "generation_id": f"doctor-{time.time_ns()}",
            "hook_event_name": event,
            "command": command,
            "cwd": cwd,
        }
    if agent == "copilot":
        arguments = json.dumps({"command": command})
        return {"sessionId": SESSION, "timestamp": 0, "cwd": cwd, "toolName": "bash", "toolArgs": arguments}
    tool = {"gemini": "run_shell_command"}.get(agent, "Bash")
    return {
        "session_id": SESSION,
        "hook_event_name": event,
        "cwd": cwd,
        "tool_name": tool,
        "tool_input": {"command": command},
        "tool_use_id": f"doctor-{time.time_ns()}",
    }


def trials(handler: Handler, settings: Settings) -> list[Finding]:
    """Harmless, must-deny, and both answers with the gateway away."""
    assert handler.command is not None
    name = f"{handler.agent} guard"
    harmless = _run(handler, handler.command, HARMLESS, {})
    if harmless.fault is not None:
        return [bad(name, harmless.fault, f"run: hookbus install {handler.agent}")]
    findings: list[Finding] = []
    if harmless.degraded:
        findings.append(
            bad(name, f"a harmless command is not decided: {harmless.said}", "mend what the message names, then again")
        )
    else:
        findings.append(good(name, f"a harmless command is answered in {harmless.elapsed_s * 1_000:.0f} ms"))
    denied = _run(handler, handler.command, MUST_DENY, {})
    if denied.fault is not None or not denied.blocks:
        answer = denied.fault or denied.permission or "no objection"
        findings.append(
            bad(name, f"`{MUST_DENY}` is not denied: {answer}", "check HOOKBUS_URL: is that a hookbus gateway?")
        )
    else:
        findings.append(good(name, f"`{MUST_DENY}` is denied"))
    return [*findings, _down(handler, handler.command, settings)]


def _down(handler: Handler, command: str, settings: Settings) -> Finding:
    name = f"{handler.agent} guard, gateway away"
    mode = handler.fail_mode(settings.fail_modes)
    with tempfile.TemporaryDirectory(prefix="hookbus-doctor-") as folder:
        own = {"HOOKBUS_DATA_DIR": folder, "HOOKBUS_FAIL_MODE": settings.fail_modes.text, "HOOKBUS_URL": settings.url}
        if settings.api_key is not None:
            own["HOOKBUS_API_KEY"] = settings.api_key
        if mode == CACHED:
            _run(handler, command, MUST_DENY, own)
        away = {**own, "HOOKBUS_URL": DOWN_URL}
        run = _run(handler, command, HARMLESS, away)
        denied = _run(handler, command, MUST_DENY, away) if mode == CACHED else None
    if run.fault is not None:
        return bad(name, run.fault, f"run: hookbus install {handler.agent}")
    if run.elapsed_s > DOWN_MAX_S:
        return bad(name, f"it takes {run.elapsed_s:.1f} s", "unset HOOKBUS_DEADLINE_S, or make it shorter")
    if run.blocks != (mode == CLOSED):
        return bad(
            name,
            f"the fail mode is {mode} and the answer is {run.permission or 'no objection'}",
            f"run: hookbus install {handler.agent} --fail-mode {mode}",
        )
    if denied is not None and not denied.blocks:
        return bad(
            name,
            f"the fail mode is cached and `{MUST_DENY}`, just denied, gets {denied.permission or 'no objection'}",
            "make the data folder writable: the last denials are kept in denials.json there",
        )
    return good(name, WORDS_BY_MODE[mode])


class _Run:
    """What one run of the command gave."""

    def __init__(self, elapsed_s: float) -> None:
        self.elapsed_s = elapsed_s
        self.fault: str | None = None
        self.permission: str | None = None
        self.said = ""

    @property
    def blocks(self) -> bool:
        return self.permission in ("deny", "blocked")

    @property
    def degraded(self) -> bool:
        return "degraded" in self.said


def _run(handler: Handler, command: str, tool_command: str, environment: dict[str, str]) -> _Run:
    body = json.dumps(payload(handler.agent, handler.event, tool_command)).encode()
    began_s = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603 - it is the line that the agent itself would run
            ["/bin/sh", "-c", command],
            input=body,
            env={**os.environ, **environment},
            capture_output=True,
            timeout=TRIAL_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        run = _Run(TRIAL_TIMEOUT_S)
        run.fault = f"the command does not end within {TRIAL_TIMEOUT_S:g} s"
        return run
    run = _Run(time.monotonic() - began_s)
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    run.said = " ".join(f"{err} {out}".split())[:DETAIL_CHARS_MAX]
    if done.returncode not in (0, 2) or (done.returncode == 2 and "hookbus" not in err):
        run.fault = f"the command exits {done.returncode}: {run.said or 'without a word'}"
        return run
    if done.returncode == 2:
        run.permission = "blocked"
        return run
    try:
        answer: Any = json.loads(out) if out.strip() else {}
        run.permission = _permission(answer)
    except (ValueError, AttributeError):
        run.fault = f"the command's answer is not a JSON object: {run.said}"
    return run


def _permission(answer: Any) -> str | None:
    specific: Any = answer.get("hookSpecificOutput") or {}
    found: Any = (
        specific.get("permissionDecision")
        or answer.get("permissionDecision")
        or answer.get("permission")
        or answer.get("decision")
    )
    return found if isinstance(found, str) else None
