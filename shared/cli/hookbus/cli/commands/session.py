"""``hookbus session``: agents' sessions, their risk, the kill switch."""

from typing import Annotated

import typer

from hookbus.cli import output
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands.options import AsJson, PageSize
from hookbus.contracts.session import SessionKind, SessionState

app = typer.Typer(no_args_is_help=True, help="Agents' sessions, their risk, the kill switch.")

SessionName = Annotated[str, typer.Argument(metavar="SESSION", help="Session id.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; agents and auditors read it.")]


@app.command("list")
def list_sessions(
    kind: Annotated[SessionKind | None, typer.Option(help="Only of agents, or of people.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only this agent's.")] = None,
    user: Annotated[str | None, typer.Option(help="Only this person's.")] = None,
    state: Annotated[SessionState | None, typer.Option(help="Only in this state.")] = None,
    limit: PageSize = 50,
    *,
    as_json: AsJson = False,
) -> None:
    """List sessions of agents and of people, the last seen first."""
    with Api.from_settings() as api:
        reply = api.get(
            "/api/v1/sessions",
            kind=kind.value if kind else None,
            agent_id=agent,
            username=user,
            session_state=state.value if state else None,
            limit=limit,
        )
    if as_json:
        output.show_json(reply)
        return
    sessions: list[JsonObject] = reply.get("sessions", [])
    rows = [
        (
            one.get("id"),
            one.get("agent_id"),
            one.get("project"),
            output.state(one.get("state")),
            output.risk(one.get("risk", 0)),
            one.get("events"),
            output.moment(one.get("last_seen_at")),
        )
        for one in sessions
    ]
    columns = ("session", "agent or user", "project", "state", "risk", "events", "last seen")
    output.show(output.table("", columns, rows, right=("risk", "events")))


@app.command()
def show(session: SessionName, *, as_json: AsJson = False) -> None:
    """Show one session and explain its risk."""
    with Api.from_settings() as api:
        reply = api.get(f"/api/v1/sessions/{session}")
    if as_json:
        output.show_json(reply)
        return
    show_session(reply)


@app.command()
def terminals(session: SessionName, *, as_json: AsJson = False) -> None:
    """List the terminals a session opened, the newest first."""
    with Api.from_settings() as api:
        reply = api.get("/api/v1/terminals", session=session)
    if as_json:
        output.show_json(reply)
        return
    found: list[JsonObject] = reply.get("terminals", [])
    names = ("id", "agent_id", "shell", "cwd", "exit_code", "output_bytes", "truncated")
    rows = [(*(one.get(name) for name in names), output.moment(one.get("opened_at"))) for one in found]
    columns = ("terminal", "agent", "shell", "folder", "exit", "bytes", "cut", "opened")
    output.show(output.table("", columns, rows, right=("exit", "bytes")))


@app.command()
def terminal(
    terminal_id: Annotated[str, typer.Argument(metavar="TERMINAL", help="Terminal id.", show_default=False)],
    agent: Annotated[str, typer.Option(help="The agent that opened it.", show_default=False)],
    *,
    as_json: AsJson = False,
) -> None:
    """Print what a terminal printed."""
    after: int | None = None
    with Api.from_settings() as api:
        while True:
            reply = api.get(f"/api/v1/terminals/{agent}/{terminal_id}", after=after)
            if as_json:
                output.show_line(reply)
            pieces: list[JsonObject] = reply.get("output", [])
            for piece in pieces if not as_json else []:
                output.show_text(str(piece.get("text", "")))
            after = reply.get("next")
            if after is None:
                break


@app.command()
def kill(session: SessionName, reason: Reason = "", *, as_json: AsJson = False) -> None:
    """Kill a session: its next tool call is denied."""
    _act(session, "kill", reason, as_json=as_json)


@app.command()
def revive(session: SessionName, reason: Reason = "", *, as_json: AsJson = False) -> None:
    """Let a session go on, and clear the evidence against it."""
    _act(session, "revive", reason, as_json=as_json)


def _act(session: str, action: str, reason: str, *, as_json: bool) -> None:
    with Api.from_settings() as api:
        reply = api.post(f"/api/v1/sessions/{session}/{action}", {"reason": reason})
    if as_json:
        output.show_json(reply)
        return
    show_session(reply)


def show_session(session: JsonObject) -> None:
    """A session as a person reads it."""
    baseline: JsonObject = session.get("baseline") or {}
    where = ", ".join(f"{name} {baseline[name]}" for name in ("host", "user", "agent_version") if baseline.get(name))
    rows: list[tuple[str, object]] = [
        ("session", session.get("id")),
        ("agent", session.get("agent_id")),
        ("project", session.get("project")),
        ("state", output.state(session.get("state"))),
        ("risk", output.risk(session.get("risk", 0))),
        ("baseline", where),
        ("opened", output.moment(session.get("opened_at"))),
        ("last seen", output.moment(session.get("last_seen_at"))),
        ("events", session.get("events")),
    ]
    if session.get("confirm_required"):
        rows.append(("waits for", "the person's password: it looks like another client's"))
    if session.get("ended_at"):
        rows.append(("ended", output.moment(session.get("ended_at"))))
    if session.get("killed_at"):
        rows.append(("killed", output.moment(session.get("killed_at"))))
        rows.append(("killed by", f"{session.get('killed_by')}: {session.get('kill_reason')}"))
    output.show(output.table("", ("", ""), rows))
    signals: list[JsonObject] = session.get("signals") or []
    if not signals:
        output.show(output.cell("Nothing stands against this session."))
        return
    told = [
        (
            "cleared" if one.get("cleared_at") else f"+{float(one.get('weight', 0)):.1f}",
            "" if one.get("cleared_at") else f"{float(one.get('contribution', 0)):.2f}",
            one.get("code"),
            one.get("words"),
            output.moment(one.get("seen_at")),
        )
        for one in signals
    ]
    output.show(output.table("why the risk is what it is", ("weight", "adds", "signal", "in words", "seen"), told))
