"""A shell command as each agent's hook names it."""

import json
import tempfile
import time
from typing import Any, Final

from hookbus.client import identity

SESSION_PREFIX: Final = "hookbus-doctor-"


def new_session() -> str:
    """A session of its own for a trial: one that was killed would deny everything from then on."""
    return f"{SESSION_PREFIX}{identity.event_id()}"


def payload(agent: str, event: str, command: str, session: str) -> dict[str, Any]:
    """What the agent sends before it runs ``command``."""
    cwd = tempfile.gettempdir()
    if agent == "cursor":
        return {
            "conversation_id": session,
            "generation_id": f"doctor-{time.time_ns()}",
            "hook_event_name": event,
            "command": command,
            "cwd": cwd,
        }
    if agent == "copilot":
        arguments = json.dumps({"command": command})
        return {"sessionId": session, "timestamp": 0, "cwd": cwd, "toolName": "bash", "toolArgs": arguments}
    tool = {"gemini": "run_shell_command"}.get(agent, "Bash")
    return {
        "session_id": session,
        "hook_event_name": event,
        "cwd": cwd,
        "tool_name": tool,
        "tool_input": {"command": command},
        "tool_use_id": f"doctor-{time.time_ns()}",
    }
