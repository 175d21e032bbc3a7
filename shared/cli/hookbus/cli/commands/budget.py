"""``hookbus budget``: limits, checks and what was spent."""

import uuid
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.table import Table

from hookbus.cli import output
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands import budget_reports
from hookbus.cli.commands.budget_accounts import Agent, Name, OfScope, Scope, path_of
from hookbus.cli.commands.options import AsJson, PageSize
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError
from hookbus.contracts.budget import Mode, Unit, Window

app = typer.Typer(no_args_is_help=True, help="Limits, checks and what was spent.")


def _limit(text: str) -> dict[str, str | None]:
    parts = text.split(":")
    mode = parts.pop() if len(parts) == 4 else None
    if len(parts) != 3 or parts[0] not in set(Unit) or parts[1] not in set(Window) or mode not in {None, *Mode}:
        units, windows, modes = "|".join(Unit), "|".join(Window), "|".join(Mode)
        wanted = f"UNIT:WINDOW:AMOUNT[:MODE], UNIT {units}, WINDOW {windows}, MODE {modes}"
        raise CliError(f"--limit {text}: want {wanted}", EXIT_USAGE)
    limit: dict[str, str | None] = {"unit": parts[0], "window": parts[1], "amount": parts[2]}
    return limit | ({"mode": mode} if mode else {})


def _removed(text: str) -> dict[str, str | None]:
    unit, _, window = text.partition(":")
    if unit not in set(Unit) or window not in set(Window):
        wanted = f"UNIT:WINDOW, UNIT {'|'.join(Unit)}, WINDOW {'|'.join(Window)}"
        raise CliError(f"--remove {text}: want {wanted}", EXIT_USAGE)
    return {"unit": unit, "window": window, "amount": None}


@app.command()
def init(
    name: Name,
    *,
    tokens_per_hour: Annotated[int | None, typer.Option(min=0)] = None,
    tokens_per_day: Annotated[int | None, typer.Option(min=0)] = None,
    max_cost_per_operation: Annotated[str | None, typer.Option(metavar="USD")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option("--limit", metavar="UNIT:WINDOW:AMOUNT[:MODE]", help="Repeatable: usd:day:5.00:ask"),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", metavar="UNIT:WINDOW", help="Repeatable: a limit to take away."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take away every limit that is not named.")] = False,
    warn_at: Annotated[
        list[float] | None, typer.Option(min=0.0, max=1.0, help="Repeatable: the share spent that is worth a warning.")
    ] = None,
    project: Annotated[str | None, typer.Option(help="The project above an agent.")] = None,
    team: Annotated[str | None, typer.Option(help="The team above a project or agent.")] = None,
    scope: OfScope = Scope.AGENT,
    as_json: AsJson = False,
) -> None:
    """Set limits. Those not named stay, and so does what was spent; a new agent without any has the configured
    defaults."""
    limits = [*map(_limit, limit or ()), *map(_removed, remove or ())]
    if tokens_per_hour is not None:
        limits.append({"unit": "tokens", "window": "hour", "amount": str(tokens_per_hour)})
    if tokens_per_day is not None:
        limits.append({"unit": "tokens", "window": "day", "amount": str(tokens_per_day)})
    if max_cost_per_operation is not None:
        limits.append({"unit": "usd", "window": "operation", "amount": max_cost_per_operation})
    body = {
        "limits": limits or None,
        "replace": replace or None,
        "project": project,
        "team": team,
        "warn_at": warn_at or None,
    }
    with Api.from_settings() as api:
        reply = api.post(path_of("init", scope, name), {key: value for key, value in body.items() if value is not None})
    if as_json:
        output.show_json(reply)
        return
    output.show(remaining_table(f"{scope} {name}", reply.get("remaining", [])))


@app.command()
def check(
    agent: Agent,
    *,
    tokens: Annotated[int | None, typer.Option(min=0, help="Estimated tokens.")] = None,
    cost: Annotated[str | None, typer.Option(metavar="USD", help="Estimated cost.")] = None,
    reserve: Annotated[bool, typer.Option("--reserve", help="Hold the estimate.")] = False,
    ttl: Annotated[int | None, typer.Option(min=1, help="Seconds a hold lasts.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask whether an operation fits; exit code 1 when it does not."""
    body = {
        "agent_id": agent,
        "estimated_tokens": tokens,
        "estimated_cost": cost,
        "reserve": reserve,
        "ttl_seconds": ttl,
    }
    with Api.from_settings() as api:
        reply = api.post("/api/v1/budget/check", body)
    allowed = bool(reply.get("allowed"))
    if as_json:
        output.show_json(reply)
    else:
        line = output.verdict("allow" if allowed else "deny")
        line.append(
            f"  {output.plain(reply.get('code', ''))}  {output.plain(reply.get('reason', ''))}", style="default"
        )
        output.show(line)
        if reply.get("reservation"):
            output.show(output.cell(f"reservation {reply['reservation']}"))
        output.show(remaining_table(f"agent {agent}", reply.get("remaining", [])))
    if not allowed:
        raise typer.Exit(EXIT_NO)


@app.command()
def deduct(
    agent: Agent,
    *,
    tokens: Annotated[int | None, typer.Option(min=0, help="Tokens used.")] = None,
    cost: Annotated[str | None, typer.Option(metavar="USD", help="What they cost.")] = None,
    model: Annotated[str | None, typer.Option(help="Price by model instead, with the counts below.")] = None,
    input_tokens: Annotated[int | None, typer.Option(min=0)] = None,
    output_tokens: Annotated[int | None, typer.Option(min=0)] = None,
    reservation: Annotated[str | None, typer.Option(help="The hold this settles.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same one charges once. [default: new]")] = None,
    as_json: AsJson = False,
) -> None:
    """Record what was spent."""
    if tokens is None and cost is None and model is None:
        raise CliError("give --tokens, --cost or --model", EXIT_USAGE)
    body: JsonObject = {
        "agent_id": agent,
        "tokens_used": tokens,
        "cost": cost,
        "model": model,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "reservation": reservation,
        "idempotency_key": key or str(uuid.uuid4()),
    }
    with Api.from_settings() as api:
        reply = api.post("/api/v1/budget/deduct", body)
    if as_json:
        output.show_json(reply)
        return
    done: JsonObject = reply.get("deducted", {})
    words = "charged before under this key" if reply.get("duplicate") else "charged"
    spent = f"{output.amount(done.get('tokens', 0), 'tokens')} tokens, {output.amount(done.get('usd', 0), 'usd')}"
    output.show(output.cell(f"{words}: {spent}"), remaining_table(f"agent {agent}", reply.get("remaining", [])))


@app.command()
def status(name: Name, scope: OfScope = Scope.AGENT, *, as_json: AsJson = False) -> None:
    """Show an account's limits and what is left of them."""
    with Api.from_settings() as api:
        reply = api.get(path_of("status", scope, name))
    if as_json:
        output.show_json(reply)
        return
    above = ", ".join(f"{level} {reply[level]}" for level in ("project", "team") if reply.get(level))
    title = f"{scope} {name}" + (f" under {above}" if above else "")
    output.show(remaining_table(title, reply.get("remaining", [])), output.cell(f"holds: {reply.get('holds', 0)}"))
    tightened: list[JsonObject] = reply.get("tightened") or []
    for held in tightened:
        share = f"{float(held.get('budget_share', 1)):.0%}"
        risk = f"{float(held.get('risk', 0)):.2f}"
        output.show(output.cell(f"session {held.get('session')} has {share} of these limits: its risk is {risk}"))


@app.command()
def reset(
    name: Name,
    unit: Annotated[Unit | None, typer.Option(help="Only limits of this unit.")] = None,
    window: Annotated[Window | None, typer.Option(help="Only limits of this window.")] = None,
    scope: OfScope = Scope.AGENT,
    *,
    as_json: AsJson = False,
) -> None:
    """Start an account's windows afresh; what was spent stays in its history."""
    body = {"unit": unit.value if unit else None, "window": window.value if window else None}
    with Api.from_settings() as api:
        reply = api.post(path_of("reset", scope, name), {key: value for key, value in body.items() if value})
    if as_json:
        output.show_json(reply)
        return
    output.show(remaining_table(f"{scope} {name}, reset", reply.get("remaining", [])))


@app.command("list")
def list_accounts(scope: OfScope = Scope.AGENT, limit: PageSize = 100, *, as_json: AsJson = False) -> None:
    """List the accounts of one level."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/budget/list", scope=scope.value, limit=limit)
    if as_json:
        output.show_json(reply)
        return
    accounts: list[JsonObject] = reply.get("accounts", [])
    limits: list[JsonObject] = [one for account in accounts for one in account.get("remaining", [])]
    bare = [str(account.get("name")) for account in accounts if not account.get("remaining")]
    output.show(remaining_table(f"{len(accounts)} of scope {scope}", limits))
    if bare:
        output.show(output.cell(f"without limits: {', '.join(bare)}"))


@app.command()
def history(name: Name, scope: OfScope = Scope.AGENT, limit: PageSize = 20, *, as_json: AsJson = False) -> None:
    """Show an account's ledger, newest first."""
    with Api.from_settings() as api:
        reply = api.get(path_of("history", scope, name), limit=limit)
    if as_json:
        output.show_json(reply)
        return
    entries: list[JsonObject] = reply.get("entries", [])
    rows = [
        (
            output.moment(entry.get("time")),
            entry.get("operation"),
            entry.get("agent_id"),
            output.amount(entry.get("tokens", 0), "tokens"),
            output.amount(entry.get("usd", 0), "usd"),
            entry.get("event_id"),
        )
        for entry in entries
    ]
    columns = ("time", "operation", "agent", "tokens", "cost", "event")
    output.show(output.table(f"ledger of {scope} {name}", columns, rows, right=("tokens", "cost")))


@app.command()
def extend(
    agent: Agent,
    reservation: Annotated[str, typer.Argument(help="The reservation.", show_default=False)],
    *,
    ttl: Annotated[int, typer.Option(min=1, help="Seconds from now.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Let a reservation live longer."""
    with Api.from_settings() as api:
        reply = api.post("/api/v1/budget/extend", {"agent_id": agent, "reservation": reservation, "ttl_seconds": ttl})
    if as_json:
        output.show_json(reply)
        return
    output.show(output.cell(f"held until {output.moment(reply.get('expires_at'))}"))


def remaining_table(title: str, remaining: list[dict[str, Any]]) -> Table:
    """Each limit with a bar of what is used."""
    rows = [
        (
            f"{one.get('scope')} {one.get('name')}",
            f"{one.get('unit')} / {one.get('window')}",
            output.bar(one.get("spent", 0), one.get("held", 0), one.get("amount", 0)),
            output.amount(one.get("spent", 0), one.get("unit")),
            output.amount(one.get("held", 0), one.get("unit")) if Decimal(str(one.get("held", 0))) else "",
            output.amount(one.get("remaining", 0), one.get("unit")),
            output.amount(one.get("amount", 0), one.get("unit")),
            output.moment(one.get("resets_at")),
        )
        for one in remaining
    ]
    columns = ("account", "limit", "used", "spent", "held", "left", "of", "resets")
    return output.table(title, columns, rows, right=("spent", "held", "left", "of"))


app.command()(budget_reports.export)
app.command()(budget_reports.projects)
app.command()(budget_reports.drift)
