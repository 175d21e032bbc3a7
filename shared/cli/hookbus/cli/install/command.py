"""``hookbus install AGENT`` and ``hookbus uninstall AGENT``."""

import difflib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from hookbus.cli import api
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError
from hookbus.cli.install import agents, documents
from hookbus.cli.install.agents import Mode, Options, Scope
from hookbus.cli.install.files import Target
from hookbus.cli.install.jsontext import JsonTextError
from hookbus.client.failing import CACHED, DECIDED_KIND, FailModes
from hookbus.client.identity import is_agent_id

KEY_SHOWN: Final = "hbk_..."
FAIL_MODE_HELP: Final = (
    "While nobody decides: open, closed, or cached (what was denied last stays denied); for single kinds "
    "pre-task=cached,prompt=closed."
)

Agent = Annotated[str, typer.Argument(help=f"One of: {', '.join(agents.AGENTS)}.")]
ScopeOption = Annotated[
    Scope, typer.Option("--scope", help="Your own settings, or those of the project in this folder.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the change and make none.")]


@dataclass(frozen=True)
class Change:
    """One file, as it is and as it is to be."""

    target: Target
    before: bytes | None
    """What was there before any installation: the backup."""
    now: bytes | None
    after: bytes | None
    private: bool = False


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
    changes, notes = _changes(agent, scope, options, data_dir=Path(api.settings().data_dir))
    _carry_out(changes, options, dry_run=dry_run, apply=_apply_install)
    for note in notes:
        typer.echo(note)


def uninstall(agent: Agent, *, scope: ScopeOption = Scope.USER, dry_run: DryRun = False) -> None:
    """Take hookbus's hooks out of an agent's settings again; a file nobody else changed is as it was, to the byte."""
    options = _options(agent, Mode.COMMAND, None, None, telemetry=True)
    data_dir = Path(api.settings().data_dir)
    changes: list[Change] = []
    for path, strip in _files(agent, scope, options):
        target = Target(path, data_dir)
        now = _read(target)
        if now is None:
            continue
        known, original = target.original(now)
        after = original if known else _text(target, strip, now)
        changes.append(Change(target, None, now, after))
    _carry_out(changes, options, dry_run=dry_run, apply=_apply_uninstall)


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


def _files(agent: str, scope: Scope, options: Options) -> list[tuple[Path, Callable[[str], str]]]:
    """Each file an installation may have written, and how its text is without that."""
    home, project = Path.home(), Path.cwd()
    variables = agents.telemetry_variables(options, scope) if agent == "claude-code" else {}
    hooks = agents.settings_path(agent, scope, home=home, project=project)
    files: list[tuple[Path, Callable[[str], str]]] = [
        (hooks, lambda text: documents.without_hooks(text, agent, variables))
    ]
    if agent == "codex" and scope is Scope.USER:
        files.append((home / ".codex" / "config.toml", documents.without_telemetry))
    return files


def _changes(agent: str, scope: Scope, options: Options, *, data_dir: Path) -> tuple[list[Change], list[str]]:
    notes: list[str] = []
    changes: list[Change] = []
    variables = agents.telemetry_variables(options, scope) if agent == "claude-code" else {}
    for path, strip in _files(agent, scope, options):
        target = Target(path, data_dir)
        now = _read(target)
        known, before = target.original(now)
        if not known and now is not None:
            before = _text(target, strip, now)
        base = None if before is None else before.decode()
        try:
            if path.suffix == ".toml":
                if not options.telemetry:
                    continue
                text, free = documents.with_telemetry(base or "", options.url, options.agent_id)
                if not free:
                    notes.append(f"{path} has an [otel] table of its own: Codex's usage is exported there")
            else:
                text, left = documents.with_hooks(base, agent, options, variables)
                notes += [f"{path} sets {name} itself: left as it is" for name in left]
        except JsonTextError as error:
            raise CliError(f"{path}: {error}; nothing was changed", EXIT_NO) from error
        private = options.api_key is not None and options.api_key in text
        changes.append(Change(target, before, now, text.encode(), private))
    if variables and scope is Scope.PROJECT:
        notes.append(
            "A project's settings hold no key: for usage by telemetry set OTEL_EXPORTER_OTLP_LOGS_HEADERS="
            '"Authorization=Bearer <key>" where the agent starts.'
        )
    if options.mode is Mode.HTTP:
        notes.append("HTTP hooks read the key from HOOKBUS_API_KEY: set it where the agent starts.")
    return changes, notes


def _read(target: Target) -> bytes | None:
    try:
        return target.read()
    except OSError as error:
        raise CliError(f"{target.path} cannot be read: {error.strerror or error}", EXIT_NO) from error


def _text(target: Target, strip: Callable[[str], str], content: bytes) -> bytes:
    try:
        return strip(content.decode()).encode()
    except (UnicodeDecodeError, JsonTextError) as error:
        raise CliError(f"{target.path}: {error}; nothing was changed", EXIT_NO) from error


def _carry_out(changes: list[Change], options: Options, *, dry_run: bool, apply: Callable[[Change], None]) -> None:
    changed = [change for change in changes if change.now != change.after]
    if not changed:
        typer.echo("nothing to change")
    for change in changed:
        if dry_run:
            typer.echo(_diff(change, options.api_key), nl=False)
            continue
        try:
            apply(change)
        except OSError as error:
            raise CliError(f"{change.target.path} cannot be written: {error.strerror or error}", EXIT_NO) from error
        typer.echo(f"{'removed' if change.after is None else 'wrote'} {change.target.path}")


def _apply_install(change: Change) -> None:
    assert change.after is not None
    change.target.install(change.before, change.after, private=change.private)


def _apply_uninstall(change: Change) -> None:
    change.target.restore(change.after)


def _diff(change: Change, api_key: str | None) -> str:
    old, new = ((content or b"").decode("utf-8", "replace").splitlines() for content in (change.now, change.after))
    name = os.fspath(change.target.path)
    lines = "".join(f"{line}\n" for line in difflib.unified_diff(old, new, name, name, lineterm=""))
    return lines.replace(api_key, KEY_SHOWN) if api_key else lines
