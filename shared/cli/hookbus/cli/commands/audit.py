"""``hookbus audit``: read the log, take it away, check it."""

import itertools
import json
import time
from typing import Annotated, Final

import typer
from rich.text import Text

from hookbus.cli import checkpoints, output
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands import audit_check, audit_keeping, audit_prune
from hookbus.cli.commands.audit_pages import (
    AgentOption,
    KindOption,
    OutcomeOption,
    ProjectOption,
    SessionOption,
    SinceOption,
    UntilOption,
    pages,
)
from hookbus.cli.commands.options import AsJson, PageSize
from hookbus.cli.errors import EXIT_NO, CliError

FOLLOW_INTERVAL_S: Final = 1.0
DATA_CHARS_MAX: Final = 80

app = typer.Typer(no_args_is_help=True, help="The audit log: read it, take it away, check it.")


@app.command()
def tail(
    *,
    limit: PageSize = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing new entries.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the newest entries, oldest of them first."""
    with Api.from_settings() as api:
        size = checkpoints.parse_checkpoint(api.text("/api/v1/audit/checkpoint")).size
        # A cursor is the index it goes on after.
        cursor = str(size - limit - 1) if size > limit else None
        # What is appended while this reads is for those who follow: more than was asked for would be shown.
        shown = itertools.islice(pages(api, cursor, {}), limit)
        while True:
            for entry in shown:
                _show_entry(entry, as_json=as_json)
                cursor = str(entry["index"])
            if not follow:
                return
            time.sleep(FOLLOW_INTERVAL_S)
            shown = pages(api, cursor, {})


@app.command()
def search(
    *,
    agent: AgentOption = None,
    kind: KindOption = None,
    session: SessionOption = None,
    project: ProjectOption = None,
    outcome: OutcomeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: PageSize = 100,
    as_json: AsJson = False,
) -> None:
    """Find entries; exit code 1 when there are none."""
    wanted = {
        "agent": agent,
        "kind": kind,
        "session": session,
        "project": project,
        "outcome": outcome,
        "since": since,
        "until": until,
    }
    found = 0
    with Api.from_settings() as api:
        for entry in pages(api, None, wanted, items_max=limit):
            _show_entry(entry, as_json=as_json)
            found += 1
            if found == limit:
                break
    if not found:
        if not as_json:
            output.show(output.cell("no entry matches"))
        raise typer.Exit(EXIT_NO)


@app.command()
def checkpoint(*, as_json: AsJson = False) -> None:
    """Print the newest signed checkpoint."""
    with Api.from_settings() as api:
        note = api.text("/api/v1/audit/checkpoint")
    if as_json:
        parsed = _checkpoint(note)
        output.show_json({"origin": parsed.origin, "size": parsed.size, "root_hash": parsed.root.hex(), "note": note})
        return
    output.console().out(note, highlight=False, end="")


@app.command()
def anchors(*, as_json: AsJson = False) -> None:
    """Where checkpoints are kept beyond the log's own reach; exit code 1 where one of these places is in trouble."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/audit/anchors")
    found = reply.get("anchors", [])
    if as_json:
        output.show_json(reply)
    elif found:
        output.show(
            output.table(
                "",
                ("kind", "name", "covers", "behind", "since", "fault"),
                map(_anchor, found),
                right=("covers", "behind"),
            )
        )
    else:
        output.show(output.cell("None is set: a checkpoint is kept on this machine alone."))
    if any(one.get("fault") for one in found):
        raise typer.Exit(EXIT_NO)


def _anchor(one: JsonObject) -> tuple[object, ...]:
    moment = output.moment(one.get("fault_at") or one.get("reached_at"))
    return one.get("kind"), one.get("name"), one.get("size"), one.get("lag_entries"), moment, one.get("fault")


def _checkpoint(note: str) -> checkpoints.Checkpoint:
    try:
        return checkpoints.parse_checkpoint(note)
    except ValueError as error:
        raise CliError(str(error)) from error


def _show_entry(entry: JsonObject, *, as_json: bool) -> None:
    if as_json:
        output.show_line(entry)
        return
    event: JsonObject = entry.get("event") or {}
    kind = str(event.get("type", "erased")).removeprefix("dev.hookbus.").removesuffix(".v1")
    line = Text(f"{entry.get('index', ''):>8}  ", style="dim")
    line.append_text(output.moment(entry.get("time")))
    line.append(f"  {output.plain(kind):<28} ", style="bold")
    line.append(f"{output.plain(event.get('subject', '-')):<18} ")
    if event.get("decision"):
        line.append_text(output.verdict(event["decision"]))
        line.append(f" {output.plain(event.get('decisioncode', ''))} ")
    line.append(output.plain(json.dumps(event.get("data", {}), ensure_ascii=False))[:DATA_CHARS_MAX], style="dim")
    output.console().print(line, soft_wrap=True)


for command in (audit_check.verify, audit_check.prove, audit_check.key):
    app.command()(command)
for command in (audit_keeping.export, audit_keeping.erase, audit_keeping.witness, audit_prune.prune):
    app.command()(command)
app.command("rotate-key")(audit_keeping.rotate_key)
