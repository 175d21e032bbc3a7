"""Which account a budget command is about."""

from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote

import typer

from hookbus.contracts.budget import ScopeKind


class Scope(StrEnum):
    """The accounts a person may name."""

    SUBAGENT = ScopeKind.SUBAGENT.value
    SESSION = ScopeKind.SESSION.value
    AGENT = ScopeKind.AGENT.value
    PROJECT = ScopeKind.PROJECT.value
    TEAM = ScopeKind.TEAM.value
    GLOBAL = ScopeKind.GLOBAL.value


SLASHES_BY_SCOPE: Final = {Scope.SESSION: 1, Scope.SUBAGENT: 2}
NAME_HELP: Final = "Agent id, or the name in another --scope: AGENT/SESSION, AGENT/SESSION/SUBAGENT."
Name = Annotated[str, typer.Argument(help=NAME_HELP, show_default=False)]
Agent = Annotated[str, typer.Argument(help="Agent id.", show_default=False)]
OfScope = Annotated[Scope, typer.Option("--scope", help="Whose account NAME is.")]


def path_of(action: str, scope: Scope, name: str) -> str:
    """Agents have an address for each action, scopes one with the action after the name. What is joined by slashes is
    joined by ``~`` in an address."""
    segment = quote(name.replace("/", "~", SLASHES_BY_SCOPE.get(scope, 0)), safe="")
    if scope is Scope.AGENT:
        return f"/api/v1/budget/{action}/{segment}"
    suffix = "" if action in {"init", "status"} else f"/{action}"
    return f"/api/v1/budget/scopes/{scope}/{segment}{suffix}"
