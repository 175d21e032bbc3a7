"""``hookbus install AGENT`` and ``hookbus uninstall AGENT``."""

import difflib
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from hookbus.cli import api
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError
from hookbus.cli.install import agents, plan
from hookbus.cli.install.agents import Mode, Options, Scope
from hookbus.cli.install.plan import Change
from hookbus.client.failing import CACHED, DECIDED_KIND, FailModes
from hookbus.client.identity import is_agent_id

KEY_SHOWN: Final = "hbk_..."
_KEY: Final = re.compile(r"hbk_\w+")
"""Also one that is not the configured key any more."""
FAIL_MODE_HELP: Final = (
    "While nobody decides: open, closed, or cached (what was denied last stays denied); for single kinds "
    "pre-task=cached,prompt=closed."
)

Agent = Annotated[str, typer.Argument(help=f"One of: {', '.join(agents.AGENTS)}.")]
ScopeOption = Annotated[
    Scope, typer.Option("--scope", help="Your own settings, or those of the project in this folder.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the change and make none.")]


def install(
    agent: Agent,
    *,
    scope: ScopeOption = Scope.USER,
    mode: Annotated[
        Mode, typer.Option("--mode", help="Claude Code only: a command or HTTP for each hook.")
    ] = Mode.COMMAND,
    fail_mode: Annotated[str | None, typer.Option("--fail-mode", help=FAIL_MODE_HELP)] = None,
    agent_id: Annotated[str | None, typer.Option("--agent-id", help="The name the agent acts under.")] = None,
    telemetry: Annotated[bool, typer.Option(help="Let the agent export its usage to the gateway.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Write hookbus's hooks into an agent's own settings; what others wrote there stays."""
    options = _options(agent, mode, fail_mode, agent_id, telemetry=telemetry)
    home, project, data_dir = Path.home(), Path.cwd(), Path(api.settings().data_dir)
    changes, notes = plan.installation(agent, scope, options, home=home, project=project, data_dir=data_dir)
    _carry_out(changes, notes, options, dry_run=dry_run)


def uninstall(agent: Agent, *, scope: ScopeOption = Scope.USER, dry_run: DryRun = False) -> None:
    """Take hookbus's hooks out of an agent's settings again; a file nobody else changed is as it was, to the byte."""
    options = _options(agent, Mode.COMMAND, None, None, telemetry=True)
    home, project, data_dir = Path.home(), Path.cwd(), Path(api.settings().data_dir)
    changes, notes = plan.removal(agent, scope, options, home=home, project=project, data_dir=data_dir)
    _carry_out(changes, notes, options, dry_run=dry_run)


def plugin(folder: Annotated[Path, typer.Argument(help="A new folder for the plugin.")]) -> None:
    """Write a Claude Code plugin folder with hookbus's hooks: hooks/hooks.json and .claude-plugin/plugin.json."""
    options = _options("claude-code", Mode.COMMAND, None, None, telemetry=False)
    if folder.exists() and any(folder.iterdir()):
        raise CliError(f"{folder} is not empty", EXIT_NO)
    hooks = {event: [entry] for event, entry in agents.entries("claude-code", options).items()}
    manifest = {"name": "hookbus", "version": "0.1.0", "description": "Budgets, sessions and an audit log by hooks"}
    for name, content in (("hooks/hooks.json", {"hooks": hooks}), (".claude-plugin/plugin.json", manifest)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        typer.echo(path)


def own_command() -> str:
    """The absolute path of this ``hookbus``."""
    beside = Path(sys.executable).parent / "hookbus"
    found = str(beside) if beside.exists() else shutil.which("hookbus")
    if found is None:
        raise CliError("the hookbus command is not on the PATH", EXIT_NO)
    return str(Path(found).absolute())


def _options(agent: str, mode: Mode, fail_mode: str | None, agent_id: str | None, *, telemetry: bool) -> Options:
    if agent not in agents.AGENTS:
        raise CliError(f"the agent is none of: {', '.join(agents.AGENTS)}", EXIT_USAGE)
    if mode is Mode.HTTP and agent != "claude-code":
        raise CliError("only claude-code has HTTP hooks", EXIT_USAGE)
    settings = api.settings()
    modes = settings.fail_modes if fail_mode is None else FailModes(fail_mode)
    if modes.fault is not None:
        raise CliError(modes.fault.replace("HOOKBUS_FAIL_MODE", "--fail-mode"), EXIT_USAGE)
    if mode is Mode.HTTP and modes.of(DECIDED_KIND) == CACHED:
        raise CliError("HTTP hooks keep no denials: use --fail-mode open or closed, or command hooks", EXIT_USAGE)
    if agent_id is not None and not is_agent_id(agent_id):
        raise CliError("--agent-id wants 1-64 of a-z A-Z 0-9 _ -", EXIT_USAGE)
    url, named = settings.url.rstrip("/"), agent_id or settings.agent_id
    return Options(own_command(), url, modes.text, mode, named, telemetry, settings.api_key)


def _carry_out(changes: list[Change], notes: list[str], options: Options, *, dry_run: bool) -> None:
    changed = [change for change in changes if change.now != change.after]
    if not changed:
        typer.echo("nothing to change")
    for change in changed:
        if dry_run:
            typer.echo(_diff(change, options.api_key), nl=False)
            continue
        try:
            change.apply()
        except OSError as error:
            raise CliError(f"{change.target.path} cannot be written: {error.strerror or error}", EXIT_NO) from error
        typer.echo(f"{'removed' if change.after is None else 'wrote'} {change.target.path}")
    for note in notes:
        typer.echo(note)


def _diff(change: Change, api_key: str | None) -> str:
    old, new = ((content or b"").decode("utf-8", "replace").splitlines() for content in (change.now, change.after))
    name = os.fspath(change.target.path)
    lines = "".join(f"{line}\n" for line in difflib.unified_diff(old, new, name, name, lineterm=""))
    return _KEY.sub(KEY_SHOWN, lines.replace(api_key, KEY_SHOWN) if api_key else lines)
