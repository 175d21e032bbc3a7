"""The hooks that stand in the agents' settings: found, read, and looked over without running them."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from hookbus.cli.doctor.findings import Finding, bad, good
from hookbus.cli.install import agents, jsontext
from hookbus.cli.install.agents import AGENTS, Scope
from hookbus.cli.install.jsontext import JsonTextError
from hookbus.client.failing import CLOSED, DECIDED_KIND, OPEN, FailModes

DECIDE_NEEDS_S: Final = 3.0
"""The hook's own deadline of 2 s and the start of a process on a busy machine."""
RECORD_NEEDS_S: Final = 1.0
SESSION_END_MAX_S: Final = 1.5
LOCAL_SETTINGS: Final = "settings.local.json"
"""A project's second file, of one person; an installation writes nothing there."""
DISABLED: Final = "disableAllHooks"
MILLISECONDS_AGENTS: Final = frozenset({"gemini"})
DECIDED: Final = {
    "claude-code": ("PreToolUse",),
    "codex": ("PreToolUse",),
    "gemini": ("BeforeTool",),
    "cursor": ("beforeShellExecution", "beforeMCPExecution", "beforeReadFile"),
    "copilot": ("preToolUse",),
}
"""The events without which nothing is guarded."""
_FAIL_MODE: Final = re.compile(r"(?:^|\s)HOOKBUS_FAIL_MODE=([^\s'\"]+)")
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")


@dataclass(frozen=True)
class Handler:
    """One of hookbus's handlers in an agent's settings."""

    agent: str
    event: str
    path: Path
    value: dict[str, Any]

    @property
    def command(self) -> str | None:
        """The line of shell; None for an HTTP hook."""
        text = self.value.get("command") or self.value.get("bash")
        return text if isinstance(text, str) else None

    @property
    def timeout_s(self) -> float | None:
        """How long the agent waits, where the settings say it."""
        given = self.value.get("timeout", self.value.get("timeoutSec"))
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            return None
        return given / 1_000 if self.agent in MILLISECONDS_AGENTS else float(given)

    def fail_mode(self, configured: FailModes) -> str:
        """What becomes of a pre-task that nobody decides: this handler's own word, else the configured one."""
        if self.command is None:
            return CLOSED if "fail_mode=closed" in str(self.value.get("url")) else OPEN
        own = _FAIL_MODE.search(self.command)
        return (configured if own is None else FailModes(own[1])).of(DECIDED_KIND)


def find(home: Path, project: Path, only: str | None) -> tuple[list[Handler], list[Finding]]:
    """Every handler of hookbus in the settings of the agents, and what is wrong with those files."""
    handlers: list[Handler] = []
    findings: list[Finding] = []
    seen: set[Path] = set()
    for agent in AGENTS if only is None else (only,):
        for scope in Scope:
            path = agents.settings_path(agent, scope, home=home, project=project)
            if path in seen or not path.exists():
                continue
            seen.add(path)
            try:
                document = jsontext.parse(path.read_text(encoding="utf-8")).value
            except (OSError, UnicodeDecodeError, JsonTextError) as error:
                findings.append(
                    bad("settings", f"{path}: {error}", "correct the file: the agent does not read it either")
                )
                continue
            handlers += list(_handlers(agent, path, document))
    if not handlers:
        findings.append(bad("installed", "no agent's settings name hookbus", "run: hookbus install AGENT"))
    return handlers, findings


def look_over(handlers: list[Handler], configured: FailModes) -> list[Finding]:
    """What is wrong with handlers as they stand there."""
    findings: list[Finding] = []
    for agent, path in sorted({(handler.agent, handler.path) for handler in handlers}):
        own = [handler for handler in handlers if (handler.agent, handler.path) == (agent, path)]
        faults = [fault for handler in own for fault in _faults(handler, configured)]
        present = {handler.event for handler in own}
        faults += [
            bad(f"{agent} hooks", f"{path} has no hook for {event}", f"run: hookbus install {agent}")
            for event in DECIDED[agent]
            if event not in present
        ]
        findings += _once(faults) or [good(f"{agent} hooks", f"{path}: {len(own)} hooks")]
    return findings


def switched_off(handlers: list[Handler], home: Path, project: Path) -> list[Finding]:
    """Settings with which Claude Code runs no hook at all, in any file it reads here."""
    if not any(handler.agent == "claude-code" for handler in handlers):
        return []
    paths = [agents.settings_path("claude-code", scope, home=home, project=project) for scope in Scope]
    paths.append(paths[-1].with_name(LOCAL_SETTINGS))
    return [
        bad("claude-code hooks", f"{path} says {DISABLED}: none of them runs", f"take {DISABLED} out of that file")
        for path in dict.fromkeys(paths)
        if _read(path).get(DISABLED) is True
    ]


def program_of(command: str) -> str | None:
    """The program that a line of shell starts, behind its assignments."""
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    return next((word for word in words if not _ASSIGNMENT.match(word)), None)


def _faults(handler: Handler, configured: FailModes) -> Iterator[Finding]:
    name = f"{handler.agent} hooks"
    again = f"run: hookbus install {handler.agent}"
    program = program_of(handler.command) if handler.command is not None else None
    if handler.command is not None and program is None:
        yield bad(name, f"{handler.path}: the command of {handler.event} cannot be read", again)
    if program is not None and os.path.isabs(program):  # noqa: PTH117 - the text is a command's word
        if not Path(program).exists():
            yield bad(name, f"{program} does not exist", again)
        elif not os.access(program, os.X_OK) or Path(program).stat().st_mode & 0o111 == 0:
            yield bad(name, f"{program} may not be executed", f"run: chmod +x {shlex.quote(program)}")
    decided = handler.event in DECIDED[handler.agent]
    needed_s = DECIDE_NEEDS_S if decided else RECORD_NEEDS_S
    if handler.timeout_s is not None and handler.timeout_s < needed_s:
        yield bad(
            name,
            f"{handler.path}: {handler.event} may take {handler.timeout_s:g} s and needs {needed_s:g} s: "
            "the agent goes on without its answer",
            again,
        )
    limited = handler.agent == "claude-code" and handler.event == "SessionEnd"
    if limited and (handler.timeout_s or 0.0) > SESSION_END_MAX_S:
        yield bad(name, f"{handler.path}: SessionEnd may take {handler.timeout_s:g} s of the agent's 1.5 s", again)
    blocks = handler.value.get("onFailure") == "block" or handler.value.get("failClosed") is True
    closes = decided and handler.fail_mode(configured) == CLOSED
    if closes and handler.agent in ("claude-code", "cursor") and not blocks:
        yield bad(
            name,
            f"{handler.path}: {handler.event} lets the tool run when the hook cannot start, "
            "though the fail mode is closed",
            f"{again} --fail-mode closed",
        )


def _once(findings: list[Finding]) -> list[Finding]:
    return list(dict.fromkeys(findings))


def _read(path: Path) -> dict[str, Any]:
    try:
        return as_object(jsontext.parse(path.read_text(encoding="utf-8")).value)
    except (OSError, UnicodeDecodeError, JsonTextError):
        return {}


def _handlers(agent: str, path: Path, document: Any) -> Iterator[Handler]:
    hooks = as_object(as_object(document).get("hooks"))
    for event, groups in hooks.items():
        for group in as_list(groups):
            for value in [group, *as_list(as_object(group).get("hooks"))]:
                if agents.is_ours(agent, value):
                    yield Handler(agent, event, path, as_object(value))


def as_object(value: Any) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """A JSON array; an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []
