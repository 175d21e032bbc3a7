"""``hookbus deadletter``: what no service could process."""

from typing import Annotated

import typer

from hookbus.cli import output
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands.options import AsJson

Sequence = Annotated[int, typer.Argument(metavar="SEQ", min=1, help="Its number in the list.", show_default=False)]

app = typer.Typer(no_args_is_help=True, help="Messages that no service could process.")


@app.command("list")
def list_deadletters(
    service: Annotated[str | None, typer.Option(help="Only those of this service.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="At most so many.")] = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first, without their content."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/deadletters", service=service, limit=limit)
    if as_json:
        output.show_json(reply)
        return
    letters: list[JsonObject] = reply.get("deadletters", [])
    output.show(_table(letters))
    total = int(reply.get("total", 0))
    if total > len(letters):
        output.show(output.cell(f"{len(letters)} of {total}"))


@app.command()
def show(seq: Sequence, *, as_json: AsJson = False) -> None:
    """Show one with its content. The look is an event in the audit log."""
    with Api.from_settings() as api:
        reply = api.get(f"/api/v1/deadletters/{seq}")
    if as_json:
        output.show_json(reply)
        return
    output.show(_table([reply]))
    if "event" in reply:
        output.show_json(reply["event"])
    else:
        output.show(output.cell(reply.get("text", "")))


@app.command()
def requeue(seq: Sequence, *, as_json: AsJson = False) -> None:
    """Put one back where it came from; who had processed it does not count it again."""
    with Api.from_settings() as api:
        reply = api.post(f"/api/v1/deadletters/{seq}/requeue", None)
    if as_json:
        output.show_json(reply)
        return
    output.show(output.cell(f"dead letter {seq} is on the bus again, as message {reply.get('new_seq')}"))


@app.command()
def drop(
    seq: Sequence,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give one up for good; the audit log says who did so."""
    if not yes and not typer.confirm(f"Delete dead letter {seq} for good?", err=True):
        raise typer.Exit(1)
    with Api.from_settings() as api:
        reply = api.delete(f"/api/v1/deadletters/{seq}")
    if as_json:
        output.show_json(reply)
        return
    output.show(output.cell(f"dead letter {seq} is dropped"))


def _table(letters: list[JsonObject]) -> object:
    rows = [
        (
            letter.get("seq"),
            letter.get("service"),
            output.moment(letter.get("stored_at")),
            letter.get("agent_id"),
            letter.get("subject"),
            letter.get("event_id"),
            letter.get("reason"),
        )
        for letter in letters
    ]
    return output.table("", ("seq", "service", "since", "agent", "from", "event", "reason"), rows)
