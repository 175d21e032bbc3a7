"""``hookbus trace``: the way of one event."""

from typing import Annotated

import typer

from hookbus.cli import output, waterfall
from hookbus.cli.api import Api
from hookbus.cli.commands.options import AsJson


def trace(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="An event's id, or a trace id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one event's trace as a waterfall."""
    with Api.from_settings() as api:
        reply = api.get(f"/api/v1/traces/{event_id}")
    if as_json:
        output.show_json(reply)
        return
    output.show(waterfall.draw(reply.get("spans", []), f"trace {reply.get('trace_id')}"))
    if reply.get("truncated"):
        output.show(output.cell("There are more spans than one answer carries."))
