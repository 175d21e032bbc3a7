"""Where each agent keeps its hooks, and what stands there for hookbus. Pure: paths, names and settings come in."""

import re
import shlex
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from hookbus.client.failing import CLOSED, DECIDED_KIND, OPEN, FailModes

DECIDE_TIMEOUT_S: Final = 5
"""Above the hook's own deadline of 2 s: the hook answers, the agent's limit is for one that hangs."""
RECORD_TIMEOUT_S: Final = 3
SESSION_END_TIMEOUT_S: Final = 1
"""All SessionEnd hooks of Claude Code together have 1.5 s."""

LOGS_PATH: Final = "/otlp/v1/logs"
LOGS_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
LOGS_HEADERS: Final = "OTEL_EXPORTER_OTLP_LOGS_HEADERS"
_LOGS_ON: Final = {
    "CLAUDE_CODE_ENABLE_TELEMETRY": "1",
    "OTEL_LOGS_EXPORTER": "otlp",
    "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
}
TELEMETRY_NAMES: Final = frozenset({*_LOGS_ON, LOGS_ENDPOINT, LOGS_HEADERS})

AGENTS: Final = ("claude-code", "codex", "gemini", "cursor", "copilot")


class Scope(StrEnum):
    """Whose settings."""

    USER = "user"
    PROJECT = "project"


class Mode(StrEnum):
    """How Claude Code calls: a process for each hook, or HTTP."""

    COMMAND = "command"
    HTTP = "http"


@dataclass(frozen=True)
class Options:
    """What an installation was asked to be."""

    command: str
    """The absolute path of ``hookbus``."""
    url: str
    fail_mode: str = OPEN
    """As :mod:`hookbus.client.failing` knows it."""
    mode: Mode = Mode.COMMAND
    agent_id: str | None = None
    telemetry: bool = True
    api_key: str | None = None
    """Written only into a person's own settings, never into a project's."""

    @property
    def fail_closed(self) -> bool:
        """Whether a tool may not run when nobody decides, so that the agent must not let it either."""
        return FailModes(self.fail_mode).of(DECIDED_KIND) == CLOSED


_CLAUDE: Final = {
    "SessionStart": RECORD_TIMEOUT_S,
    "UserPromptSubmit": RECORD_TIMEOUT_S,
    "PreToolUse": DECIDE_TIMEOUT_S,
    "PostToolUse": RECORD_TIMEOUT_S,
    "PostToolUseFailure": RECORD_TIMEOUT_S,
    "SubagentStart": RECORD_TIMEOUT_S,
    "SubagentStop": RECORD_TIMEOUT_S,
    "Stop": RECORD_TIMEOUT_S,
    "SessionEnd": SESSION_END_TIMEOUT_S,
}
_CODEX: Final = (
    "SessionStart",
    "UserPromptSubmit",
    "PreToolUse",
    "PostToolUse",
    "SubagentStart",
    "SubagentStop",
    "Stop",
)
_GEMINI: Final = ("SessionStart", "BeforeAgent", "BeforeTool", "AfterTool", "AfterModel", "SessionEnd")
_CURSOR: Final = (
    "sessionStart",
    "beforeSubmitPrompt",
    "preToolUse",
    "beforeShellExecution",
    "beforeMCPExecution",
    "beforeReadFile",
    "afterShellExecution",
    "afterMCPExecution",
    "afterFileEdit",
    "stop",
    "sessionEnd",
)
_CURSOR_MATCHER: Final = {"preToolUse": "Write|Delete|Task"}
"""Shell, MCP and reading have events of their own; each call is decided once."""
_COPILOT: Final = ("sessionStart", "userPromptSubmitted", "preToolUse", "postToolUse", "errorOccurred", "sessionEnd")
_DECIDED: Final = frozenset(
    {"PreToolUse", "BeforeTool", "preToolUse", "beforeShellExecution", "beforeMCPExecution", "beforeReadFile"}
)
_MATCHED: Final = frozenset({"PreToolUse", "PostToolUse", "PostToolUseFailure", "BeforeTool", "AfterTool"})


def settings_path(agent: str, scope: Scope, *, home: Path, project: Path) -> Path:
    """The file that holds an agent's hooks."""
    root = home if scope is Scope.USER else project
    if agent == "copilot":
        return root / (".copilot" if scope is Scope.USER else ".github") / "hooks" / "hookbus.json"
    return (
        root
        / {
            "claude-code": ".claude/settings.json",
            "codex": ".codex/hooks.json",
            "gemini": ".gemini/settings.json",
            "cursor": ".cursor/hooks.json",
        }[agent]
    )


def hook_command(agent: str, options: Options, event: str | None = None) -> str:
    """The line of shell that an agent runs."""
    words = [options.command, "hook", agent, *([event] if event else [])]
    prefix = [f"HOOKBUS_FAIL_MODE={options.fail_mode}"] if options.fail_mode != OPEN else []
    if options.agent_id is not None:
        prefix.append(f"HOOKBUS_AGENT_ID={options.agent_id}")
    return " ".join([*prefix, *map(shlex.quote, words)])


def entries(agent: str, options: Options) -> dict[str, dict[str, Any]]:
    """The entry for each event, as the agent wants it."""
    if agent == "claude-code":
        return {event: _claude(event, timeout_s, options) for event, timeout_s in _CLAUDE.items()}
    command = hook_command(agent, options)
    if agent == "codex":
        return {event: {"hooks": [_command(command, _timeout_s(event))]} for event in _CODEX}
    if agent == "gemini":
        made: dict[str, dict[str, Any]] = {}
        for event in _GEMINI:
            handler = {"name": "hookbus", **_command(command, _timeout_s(event) * 1_000)}
            made[event] = {"matcher": ".*", "hooks": [handler]} if event in _MATCHED else {"hooks": [handler]}
        return made
    if agent == "cursor":
        return {event: _cursor(event, command, options) for event in _CURSOR}
    return {
        event: {"type": "command", "bash": hook_command(agent, options, event), "timeoutSec": _timeout_s(event)}
        for event in _COPILOT
    }


def document_defaults(agent: str) -> dict[str, Any]:
    """What a file of hooks says beside them."""
    return {"version": 1} if agent in ("cursor", "copilot") else {}


def telemetry_variables(options: Options, scope: Scope) -> dict[str, str]:
    """The variables with which Claude Code exports its log events to the gateway."""
    if not options.telemetry:
        return {}
    variables = {**_LOGS_ON, LOGS_ENDPOINT: f"{options.url}{LOGS_PATH}"}
    if scope is Scope.USER and options.api_key is not None:
        named = f",x-hookbus-agent={options.agent_id}" if options.agent_id else ""
        variables[LOGS_HEADERS] = f"Authorization=Bearer {options.api_key}{named}"
    return variables


def is_ours(agent: str, value: Any) -> bool:
    """Whether a handler is one that an installation for this agent wrote, by any path of ``hookbus``."""
    if not isinstance(value, dict):
        return False
    texts = [str(value.get(name, "")) for name in ("command", "bash", "url")]  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # any JSON
    pattern = rf"(?:^|[/\s'\"])hookbus['\"]? hook {re.escape(agent)}(?:\s|$)|/api/v1/hooks/{re.escape(agent)}(?:\?|$)"
    return any(re.search(pattern, text) for text in texts)


def _claude(event: str, timeout_s: int, options: Options) -> dict[str, Any]:
    handler: dict[str, Any]
    if options.mode is Mode.HTTP and event != "SessionStart":
        query = [f"agent_id={options.agent_id}"] if options.agent_id else []
        query += ["fail_mode=closed"] if options.fail_closed else []
        handler = {
            "type": "http",
            "url": f"{options.url}/api/v1/hooks/claude-code" + ("?" + "&".join(query) if query else ""),
            "timeout": timeout_s,
            "headers": {"Authorization": "Bearer $HOOKBUS_API_KEY"},
            "allowedEnvVars": ["HOOKBUS_API_KEY"],
        }
    else:
        handler = _command(hook_command("claude-code", options), timeout_s)
    if options.fail_closed and event in _DECIDED:
        handler["onFailure"] = "block"
    return {"matcher": "*", "hooks": [handler]} if event in _MATCHED else {"hooks": [handler]}


def _cursor(event: str, command: str, options: Options) -> dict[str, Any]:
    entry: dict[str, Any] = {"command": command}
    if event in _CURSOR_MATCHER:
        entry["matcher"] = _CURSOR_MATCHER[event]
    if options.fail_closed and event in _DECIDED:
        entry["failClosed"] = True
    return entry


def _command(command: str, timeout: int) -> dict[str, Any]:
    return {"type": "command", "command": command, "timeout": timeout}


def _timeout_s(event: str) -> int:
    return DECIDE_TIMEOUT_S if event in _DECIDED else RECORD_TIMEOUT_S
