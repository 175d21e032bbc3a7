"""``hookbus budget export|projects|drift``: the ledger for other programs, and summaries of it."""

import csv
import json
import sys
from enum import StrEnum
from typing import Annotated, Final

import typer

from hookbus.cli import output
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands.budget_accounts import Name, OfScope, Scope, path_of
from hookbus.cli.commands.options import AsJson, PageSize

EXPORT_PAGE_ROWS: Final = 1_000
EXPORT_COLUMNS: Final = (
    "id",
    "time",
    "operation",
    "agent_id",
    "tokens",
    "usd",
    "held_tokens",
    "held_usd",
    "event_id",
    "request_id",
    "reservation",
    "model",
    "price_version",
    "source",
    "reported_usd",
    "computed_usd",
    "actor",
    "detail",
)


class ExportFormat(StrEnum):
    """What ``export`` writes."""

    CSV = "csv"
    JSONL = "jsonl"


def export(
    name: Name,
    to: Annotated[ExportFormat, typer.Option("--format", help="One JSON object a line, or CSV with a header.")],
    scope: OfScope = Scope.AGENT,
) -> None:
    """Write an account's whole ledger to stdout, newest first."""
    path, cursor = path_of("history", scope, name), None
    rows = csv.DictWriter(sys.stdout, EXPORT_COLUMNS, extrasaction="ignore", lineterminator="\n")
    if to is ExportFormat.CSV:
        rows.writeheader()
    with Api.from_settings() as api:
        while True:
            page = api.get(path, limit=EXPORT_PAGE_ROWS, cursor=cursor)
            for entry in page.get("entries", []):
                if to is ExportFormat.JSONL:
                    output.show_line(entry)
                else:
                    rows.writerow({column: _csv_cell(entry.get(column)) for column in EXPORT_COLUMNS})
            cursor = page.get("cursor")
            if cursor is None:
                return


def projects(limit: PageSize = 100, *, as_json: AsJson = False) -> None:
    """List projects."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/budget/projects", limit=limit)
    if as_json:
        output.show_json(reply)
        return
    found: list[JsonObject] = reply.get("projects", [])
    rows = [
        (
            one.get("name"),
            one.get("team"),
            one.get("agents"),
            output.moment(one.get("created_at")),
            one.get("created_by"),
        )
        for one in found
    ]
    columns = ("project", "team", "agents", "since", "made by")
    output.show(output.table(f"{len(found)} projects", columns, rows, right=("agents",)))


def drift(
    agent: Annotated[str | None, typer.Option(help="Only this agent.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339. [default: 30 days ago]")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Compare what agents said their requests cost with what the price list says."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/budget/drift", agent=agent, since=since)
    if as_json:
        output.show_json(reply)
        return
    rows = [
        (
            one.get("agent_id"),
            one.get("model"),
            one.get("source"),
            one.get("reports"),
            *(output.amount(one.get(f"{figure}_usd", 0), "usd") for figure in ("reported", "computed", "difference")),
        )
        for one in reply.get("rows", [])
    ]
    columns = ("agent", "model", "source", "reports", "reported", "computed", "difference")
    title = f"reported against computed cost since {output.moment(reply.get('since'))}"
    output.show(output.table(title, columns, rows, right=columns[3:]))


def _csv_cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, str) and value.startswith(("=", "+", "@", "\t", "\r")):
        return f"'{value}"
    return value
