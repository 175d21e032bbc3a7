"""``hookbus key``: API keys."""

from typing import Annotated

import typer

from hookbus.cli import output
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands.options import AsJson
from hookbus.contracts.session import KeyScope

SECONDS_PER_DAY = 86_400

app = typer.Typer(no_args_is_help=True, help="API keys.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.", show_default=False)],
    scope: Annotated[list[KeyScope], typer.Option("--scope", "-s", help="What it may do; repeatable.")],
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days until it expires; never by default.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its text is shown this once and stored nowhere."""
    body: JsonObject = {
        "name": name,
        "scopes": sorted({one.value for one in scope}),
        "ttl_seconds": None if days is None else days * SECONDS_PER_DAY,
    }
    with Api.from_settings() as api:
        reply = api.post("/api/v1/keys", body)
    if as_json:
        output.show_json(reply)
        return
    output.show(_table([reply.get("key", {})]), output.cell(f"API key: {reply.get('api_key')}"))
    output.show(output.cell("Keep it now: it is not shown again."))


@app.command("list")
def list_keys(*, as_json: AsJson = False) -> None:
    """List keys, the newest first."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/keys")
    if as_json:
        output.show_json(reply)
        return
    output.show(_table(reply.get("keys", [])))


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id: the part after hbk_.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Revoke a key; no gateway accepts it any more within a second."""
    with Api.from_settings() as api:
        reply = api.delete(f"/api/v1/keys/{key_id}")
    if as_json:
        output.show_json(reply)
        return
    output.show(_table([reply]) if reply else output.cell(f"{key_id} is revoked"))


def _table(keys: list[JsonObject]) -> object:
    rows = [
        (
            key.get("key_id"),
            key.get("name"),
            ", ".join(key.get("scopes") or ()),
            output.moment(key.get("created_at")),
            output.moment(key.get("expires_at")),
            output.moment(key.get("revoked_at")),
        )
        for key in keys
    ]
    return output.table("", ("key id", "name", "scopes", "created", "expires", "revoked"), rows)
