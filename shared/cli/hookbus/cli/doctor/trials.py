"""The installed command, run exactly as the agent would: by a shell, with a payload on stdin."""

import json
import os
import subprocess
import tempfile
import time
from typing import Final

from hookbus.cli.doctor.answers import HARMLESS, MUST_DENY, Outcome, of_denied, of_harmless, words
from hookbus.cli.doctor.findings import Finding, bad, good
from hookbus.cli.doctor.installed import Handler
from hookbus.cli.doctor.payloads import new_session, payload
from hookbus.client.failing import CACHED, CLOSED, OPEN
from hookbus.client.settings import Settings

TRIAL_TIMEOUT_S: Final = 10.0
DOWN_MAX_S: Final = 4.0
"""What a hook may take with the gateway down: its deadline of 2 s, and the start of a process."""
DOWN_URL: Final = "http://127.0.0.1:9"
WORDS_BY_MODE: Final = {
    OPEN: "it lets the tool run and says so (fail mode open)",
    CLOSED: "it denies",
    CACHED: "it denies what was denied last and lets the rest run, saying so (fail mode cached)",
}


def trials(handler: Handler, settings: Settings) -> list[Finding]:
    """Harmless, must-deny, and both answers with the gateway away."""
    assert handler.command is not None
    name = f"{handler.agent} guard"
    session = new_session()
    harmless = _run(handler, handler.command, HARMLESS, session, {})
    if harmless.fault is not None:
        return [bad(name, harmless.fault, f"run: hookbus install {handler.agent}")]
    denied = _run(handler, handler.command, MUST_DENY, session, {})
    return [of_harmless(name, harmless), of_denied(name, denied), _down(handler, handler.command, settings)]


def _down(handler: Handler, command: str, settings: Settings) -> Finding:
    name = f"{handler.agent} guard, gateway away"
    mode = handler.fail_mode(settings.fail_modes)
    session = new_session()
    with tempfile.TemporaryDirectory(prefix="hookbus-doctor-") as folder:
        own = {"HOOKBUS_DATA_DIR": folder, "HOOKBUS_FAIL_MODE": settings.fail_modes.text, "HOOKBUS_URL": settings.url}
        if settings.api_key is not None:
            own["HOOKBUS_API_KEY"] = settings.api_key
        if mode == CACHED:
            _run(handler, command, MUST_DENY, session, own)
        away = {**own, "HOOKBUS_URL": DOWN_URL}
        run = _run(handler, command, HARMLESS, session, away)
        denied = _run(handler, command, MUST_DENY, session, away) if mode == CACHED else None
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


def _run(handler: Handler, command: str, tool_command: str, session: str, environment: dict[str, str]) -> Outcome:
    body = json.dumps(payload(handler.agent, handler.event, tool_command, session)).encode()
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
        return Outcome(TRIAL_TIMEOUT_S, f"the command does not end within {TRIAL_TIMEOUT_S:g} s")
    out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    outcome = Outcome(time.monotonic() - began_s, said=words(err, out))
    if done.returncode not in (0, 2) or (done.returncode == 2 and "hookbus" not in err):
        outcome.fault = f"the command exits {done.returncode}: {outcome.said or 'without a word'}"
    elif done.returncode == 2:
        outcome.permission, outcome.reason = "blocked", err
    else:
        outcome.read(out)
    return outcome
