"""``hookbus user``: people and their passwords."""

import sys
from typing import Annotated

import typer

from hookbus.cli import output
from hookbus.cli.api import Api, JsonObject, settings
from hookbus.cli.commands.options import AsJson
from hookbus.cli.errors import EXIT_USAGE, CliError
from hookbus.contracts.people import Role

app = typer.Typer(no_args_is_help=True, help="People who log in.")

Name = Annotated[str, typer.Argument(help="Username.", show_default=False)]


@app.command()
def add(
    name: Name,
    role: Annotated[Role, typer.Option(help="What the person is here for.")] = Role.VIEWER,
    *,
    as_json: AsJson = False,
) -> None:
    """Create a user. The one-time password is shown this once and must be changed at the first login."""
    with Api.from_settings() as api:
        reply = api.post("/api/v1/users", {"username": name, "role": role.value})
    _show_password(reply, as_json=as_json)


@app.command("list")
def list_users(*, as_json: AsJson = False) -> None:
    """List users by name."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/users")
    if as_json:
        output.show_json(reply)
        return
    output.show(_table(reply.get("users", [])))


@app.command()
def passwd(
    name: Name,
    *,
    reset: Annotated[
        bool, typer.Option("--reset", help="As an administrator: a new one-time password instead.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change a password: asks for the current and the new one (two lines of stdin where it is no terminal)."""
    if reset:
        with Api.from_settings() as api:
            reply = api.post(f"/api/v1/users/{name}/reset")
        _show_password(reply, as_json=as_json)
        return
    current, new = _ask("Current password"), _ask("New password")
    if sys.stdin.isatty() and new != _ask("New password again"):
        raise CliError("the two new passwords differ", EXIT_USAGE)
    url = settings().url
    with Api(url, None) as api:
        opened = api.post("/api/v1/session/login", {"username": name, "password": current})
    with Api(url, str(opened.get("access_token"))) as api:
        changed = api.post("/api/v1/session/password", {"current_password": current, "new_password": new})
    with Api(url, str(changed.get("access_token"))) as api:
        api.post("/api/v1/session/logout")
    if as_json:
        output.show_json({"username": name, "changed": True})
        return
    output.show(output.cell(f"The password of {name} is changed; every other session of theirs has ended."))


@app.command()
def disable(name: Name, *, as_json: AsJson = False) -> None:
    """Let a user in no more, and end their sessions."""
    with Api.from_settings() as api:
        reply = api.delete(f"/api/v1/users/{name}")
    if as_json:
        output.show_json(reply)
        return
    output.show(_table([reply]))


def _ask(words: str) -> str:
    if sys.stdin.isatty():
        answer: str = typer.prompt(words, hide_input=True)
        return answer
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise CliError(f"stdin holds no line for: {words.lower()}", EXIT_USAGE)
    return line


def _show_password(reply: JsonObject, *, as_json: bool) -> None:
    if as_json:
        output.show_json(reply)
        return
    output.show(_table([reply.get("user", {})]), output.cell(f"One-time password: {reply.get('one_time_password')}"))
    output.show(output.cell("Hand it over now: it is not shown again, and must be changed before anything else works."))


def _table(users: list[JsonObject]) -> object:
    rows = [
        (
            one.get("username"),
            one.get("role"),
            "disabled" if one.get("disabled_at") else "must change" if one.get("must_change_password") else "own",
            "yes" if one.get("totp") else "no",
            one.get("sessions"),
            output.moment(one.get("created_at")),
        )
        for one in users
    ]
    return output.table("", ("user", "role", "password", "codes", "sessions", "created"), rows, right=("sessions",))
