"""The ``hookbus`` command as a user runs it: a process with its own environment."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from support.stack import StackFixture

HOOKBUS = str(Path(sys.executable).parent / "hookbus")
COMMAND_TIMEOUT_S = 60


class Reached(Protocol):
    """A running system that the command is set to."""

    @property
    def environment(self) -> dict[str, str]: ...


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


def hookbus(stack: Reached, *arguments: str, stdin: str | bytes = "", **environment: str) -> Ran:
    """Run ``hookbus ARGUMENTS`` against ``stack``."""
    result = subprocess.run(
        [HOOKBUS, *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        env={**stack.environment, **environment},
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    return Ran(result.returncode, result.stdout.decode(), result.stderr.decode())


def claude_hook(stack: StackFixture, event: str, session: str, agent: str, **fields: Any) -> Ran:
    """One Claude Code hook, through the real command."""
    payload = {"hook_event_name": event, "session_id": session, "cwd": "/tmp", "transcript_path": "/tmp/t", **fields}
    return hookbus(stack, "hook", "claude-code", stdin=json.dumps(payload), HOOKBUS_AGENT_ID=agent)


def permission(ran: Ran) -> tuple[str, str] | None:
    """The decision in a PreToolUse answer and its reason; None where hookbus has no opinion."""
    if not ran.out.strip():
        return None
    specific = ran.json().get("hookSpecificOutput")
    if specific is None:
        return None
    return specific["permissionDecision"], specific["permissionDecisionReason"]
