"""``hookbus doctor [AGENT]``."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from hookbus.cli.commands.options import AsJson
from hookbus.cli.doctor.findings import Finding
from hookbus.cli.doctor.http_trials import http_trials
from hookbus.cli.doctor.installed import DECIDED, Handler, find, look_over, program_of, switched_off
from hookbus.cli.doctor.surroundings import check_gateway, check_settings, check_spool
from hookbus.cli.doctor.trials import trials
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError
from hookbus.cli.install.agents import AGENTS
from hookbus.client.settings import Settings


def doctor(
    agent: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(AGENTS)}. All of them by default.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Prove that the guard works end to end, by the installed command itself. Exit code 1 where something is wrong."""
    if agent is not None and agent not in AGENTS:
        raise CliError(f"the agent is none of: {', '.join(AGENTS)}", EXIT_USAGE)
    findings = examine(Settings(os.environ), Path.home(), Path.cwd(), agent)
    if as_json:
        typer.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(f"{'ok  ' if finding.ok else 'FAIL'}  {finding.check}: {finding.detail}")
            if finding.remedy is not None:
                typer.echo(f"      -> {finding.remedy}")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(EXIT_NO)


def examine(settings: Settings, home: Path, project: Path, agent: str | None) -> list[Finding]:
    """Every check; what stands on a failed one is not tried."""
    handlers, findings = find(home, project, agent)
    findings = [check_settings(settings), *check_gateway(settings), check_spool(settings), *findings]
    looked = look_over(handlers, settings.fail_modes)
    findings += [*looked, *switched_off(handlers, home, project)]
    red = {finding.check for finding in looked if not finding.ok and "may take" not in finding.detail}
    for handler in _to_try(handlers):
        if handler.command is None:
            findings += http_trials(handler)
        elif f"{handler.agent} hooks" not in red or _runs(handler.command):
            findings += trials(handler, settings)
    return findings


def _to_try(handlers: list[Handler]) -> list[Handler]:
    """One deciding handler of each file."""
    chosen: dict[tuple[str, Path], Handler] = {}
    for handler in handlers:
        if handler.event == DECIDED[handler.agent][0]:
            chosen.setdefault((handler.agent, handler.path), handler)
    return list(chosen.values())


def _runs(command: str) -> bool:
    program = program_of(command)
    return program is not None and os.access(program, os.X_OK)
