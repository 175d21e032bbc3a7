"""Plays the recording: every hook is a process of its own, as Claude Code would start it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

from hookbus.cli.api import Api
from hookbus.cli.demo.recording import Step
from hookbus.cli.errors import CliError

AGENT_ID: Final = "demo-claude"
PROJECT: Final = "demo-shop"
HOOK_TIMEOUT_S: Final = 20.0
HOOK_DEADLINE_S: Final = "8"
"""More patience than a person's own hooks have: a busy machine must not turn the demo into a degraded one."""
CHARGED_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.03
RUNAWAY: Final = "runaway"
NO_OBJECTION: Final = "none"

_CODE: Final = re.compile(r"\[([a-z_]+)\]\s*$")


@dataclass(frozen=True)
class Played:
    """One hook call and what came of it."""

    step: Step
    decision: str
    reason: str
    code: str | None
    exit_code: int
    wall_s: float

    @property
    def as_expected(self) -> bool:
        """Whether the answer is the one the recording names; a recorded event only has to succeed."""
        if self.exit_code != 0:
            return False
        expect = self.step.expect
        if expect is None:
            return self.decision == NO_OBJECTION
        if expect.or_code is not None and self.decision == "deny":
            return self.code == expect.or_code
        return self.decision == expect.decision and (expect.code is None or self.code == expect.code)


def hookbus_command() -> list[str]:
    """The ``hookbus`` command of this installation."""
    beside = Path(sys.executable).parent / "hookbus"
    found = str(beside) if beside.exists() else shutil.which("hookbus")
    return [found] if found else [sys.executable, "-m", "hookbus.client"]


class Player:
    """Plays steps against one stack. ``say`` gets each line of the story."""

    def __init__(self, api: Api, *, data_dir: Path, workspace: Path, session: str, say: Callable[[str], None]) -> None:
        self._api = api
        self._say = say
        self._session = session
        self._workspace = workspace
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(workspace),
            "USER": os.environ.get("USER", "demo"),
            "HOOKBUS_DATA_DIR": str(data_dir),
            "HOOKBUS_AGENT_ID": AGENT_ID,
            "HOOKBUS_PROJECT": PROJECT,
            "HOOKBUS_FAIL_MODE": "closed",
            "HOOKBUS_DEADLINE_S": HOOK_DEADLINE_S,
        }
        self._command = hookbus_command()
        self.played: list[Played] = []
        self.usage_events = 0

    def play(self, steps: Sequence[Step]) -> None:
        """Play all steps in order. A runaway loop ends where it is first denied.

        Raises:
            CliError: a person's own step failed, or usage was not charged in time.
        """
        stopped: set[str] = set()
        for step in steps:
            if step.group in stopped:
                continue
            denied = self._play(step)
            if denied and step.group is not None:
                stopped.add(step.group)

    def _play(self, step: Step) -> bool:
        match step.do:
            case "say":
                self._say(str(step.payload["text"]))
            case "hook":
                return self._hook(step)
            case "usage":
                self._usage(step.payload)
            case "raise_budget":
                self._api.post(f"/api/v1/budget/init/{AGENT_ID}", step.payload)
            case "kill" | "revive":
                self._api.post(f"/api/v1/sessions/{self._session}/{step.do}", step.payload)
            case _:
                raise CliError(f"the recording holds an unknown step: {step.do}")
        return False

    def _hook(self, step: Step) -> bool:
        began = time.monotonic()
        done = self._run(["hook", "claude-code"], json.dumps(step.payload))
        wall_s = time.monotonic() - began
        decision, reason, code = read_answer(done.stdout)
        if done.returncode != 0 or (decision == NO_OBJECTION and done.stderr):
            reason = done.stderr.strip() or f"exit code {done.returncode}"
        self.played.append(Played(step, decision, reason, code, done.returncode, wall_s))
        if decision != NO_OBJECTION:
            self._say(f"  {decision}: {step.summary}\n    {reason}")
        return decision == "deny"

    def _usage(self, data: dict[str, Any]) -> None:
        """Report what a model call used, and wait until it is charged: a real call takes longer than that."""
        before = spent_tokens(self._api)
        arguments = ["emit", "usage", "--agent", AGENT_ID, "--project", PROJECT, "--session", self._session]
        done = self._run([*arguments, "--data", json.dumps(data)], "")
        if done.returncode != 0:
            raise CliError(f"hookbus emit usage failed: {done.stderr.strip()}")
        self.usage_events += 1
        deadline = time.monotonic() + CHARGED_TIMEOUT_S
        while spent_tokens(self._api) == before:
            if time.monotonic() > deadline:
                raise CliError("the budget service did not charge a usage event in time")
            time.sleep(POLL_S)

    def _run(self, arguments: list[str], given: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 - this installation's own command
                [*self._command, *arguments],
                input=given,
                capture_output=True,
                text=True,
                env=self._environment,
                cwd=self._workspace,
                timeout=HOOK_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CliError(f"hookbus {' '.join(arguments[:2])} did not end within {HOOK_TIMEOUT_S:.0f} s") from error


def read_answer(stdout: str) -> tuple[str, str, str | None]:
    """Decision, reason and code of a Claude Code answer; no output or an empty object is no objection."""
    try:
        parsed: object = json.loads(stdout) if stdout.strip() else {}
    except ValueError:
        return "unreadable", stdout[:200], None
    answer = cast("dict[str, Any]", parsed) if isinstance(parsed, dict) else {}
    specific = cast("dict[str, Any]", answer.get("hookSpecificOutput") or {})
    if "permissionDecision" not in specific:
        return NO_OBJECTION, str(answer.get("systemMessage") or ""), None
    reason = str(specific.get("permissionDecisionReason") or "")
    match = _CODE.search(reason)
    return str(specific["permissionDecision"]), reason, match.group(1) if match else None


def spent_tokens(api: Api) -> Decimal:
    """What the demo's agent has spent in its token windows, all windows together."""
    reply = api.get(f"/api/v1/budget/status/{AGENT_ID}")
    remaining = cast("list[dict[str, Any]]", reply.get("remaining", []))
    return sum((Decimal(str(one["spent"])) for one in remaining if one.get("unit") == "tokens"), Decimal(0))
