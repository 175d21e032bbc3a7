"""Pages of the audit log, and the options that choose among its entries."""

from collections.abc import Iterator
from typing import Annotated, Any, Final

import typer

from hookbus.cli.api import Api, JsonObject

PAGE_ITEMS_MAX: Final = 1000
ENTRIES: Final = "/api/v1/audit/entries"

AgentOption = Annotated[str | None, typer.Option("--agent", help="Only this agent's.")]
KindOption = Annotated[str | None, typer.Option("--kind", help="Only this kind.")]
SessionOption = Annotated[str | None, typer.Option("--session", help="Only this session's.")]
ProjectOption = Annotated[str | None, typer.Option("--project", help="Only this project's.")]
SinceOption = Annotated[str | None, typer.Option("--since", help="From this time on (ISO 8601 with zone).")]
UntilOption = Annotated[str | None, typer.Option("--until", help="Before this time.")]
OutcomeOption = Annotated[str | None, typer.Option("--outcome", help="Only this decision or status.")]


def pages(
    api: Api, cursor: str | None, wanted: dict[str, Any], items_max: int = PAGE_ITEMS_MAX
) -> Iterator[JsonObject]:
    """Entries after ``cursor`` that match, page after page."""
    while True:
        reply = api.get(ENTRIES, cursor=cursor, limit=min(items_max, PAGE_ITEMS_MAX), **wanted)
        entries: list[JsonObject] = reply.get("entries", [])
        yield from entries
        cursor = reply.get("cursor")
        if cursor is None:
            return
