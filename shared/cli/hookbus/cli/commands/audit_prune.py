"""``hookbus audit prune``: retention by hand."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from hookbus.cli import output
from hookbus.cli.api import VERIFY_TIMEOUT_S, Api, JsonObject
from hookbus.cli.commands.options import AsJson
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError

PATH = "/api/v1/audit/prune"


def prune(
    before: Annotated[
        str | None, typer.Option("--before", help="Entries logged before this day or moment (ISO 8601, else UTC).")
    ] = None,
    below: Annotated[int | None, typer.Option("--below", help="Entries below this index.", min=0)] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record. Name no person in it.")] = "",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Drop the oldest entries, whole partitions at a time; a signed record of it is logged first.

    Hashes stay: every proof and every checkpoint still holds. Exit code 1: some of it is still being read; ask again.
    """
    if (before is None) == (below is None):
        raise CliError("give --before or --below", EXIT_USAGE)
    asked: JsonObject = {"before": _moment(before), "below": below, "reason": reason}
    with Api.from_settings() as api:
        plan = api.post(PATH, {**asked, "dry_run": True})
        if dry_run or not plan.get("entries"):
            _show(plan, as_json=as_json)
            if dry_run:
                return
        elif not yes and not typer.confirm(f"Drop the {plan['entries']} entries below {plan['cut']} for good?"):
            raise typer.Abort
        entries = partitions = 0
        while True:
            reply = api.post(PATH, asked, timeout_s=VERIFY_TIMEOUT_S)
            entries, partitions = entries + int(reply["entries"]), partitions + int(reply["partitions"])
            if not reply.get("more"):
                break
    if plan.get("entries"):
        _show({**reply, "first": plan["first"], "entries": entries, "partitions": partitions}, as_json=as_json)
    if reply.get("pending"):
        raise CliError(f"{reply['pending']} partitions are recorded as pruned and still being read: ask again", EXIT_NO)


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise CliError("--before is a day or a moment in ISO 8601", EXIT_USAGE) from error
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).isoformat()


def _show(reply: JsonObject, *, as_json: bool) -> None:
    if as_json:
        output.show_json(reply)
    elif not reply.get("entries"):
        output.show(output.cell("nothing is old enough: whole partitions go, once a checkpoint covers them"))
    else:
        would = "would be pruned" if reply.get("dry_run") else "are pruned"
        words = f"{reply['entries']} entries in {reply['partitions']} partitions {would}; the log begins at"
        output.show(output.cell(f"{words} {reply['cut']}"))
