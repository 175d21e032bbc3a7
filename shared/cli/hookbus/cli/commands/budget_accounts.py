"""Which account a budget command is about."""

from enum import StrEnum
from typing import Annotated

import typer

from hookbus.contracts.budget import ScopeKind


class Scope(StrEnum):
    """The accounts a person may name."""

    AGENT = ScopeKind.AGENT.value
    PROJECT = ScopeKind.PROJECT.value
    TEAM = ScopeKind.TEAM.value
    GLOBAL = ScopeKind.GLOBAL.value


Name = Annotated[str, typer.Argument(help="Agent id, or the name in another --scope.", show_default=False)]
Agent = Annotated[str, typer.Argument(help="Agent id.", show_default=False)]
OfScope = Annotated[Scope, typer.Option("--scope", help="Whose account NAME is.")]


def path_of(action: str, scope: Scope, name: str) -> str:
    """Agents have an address for each action, scopes one with the action after the name."""
    if scope is Scope.AGENT:
        return f"/api/v1/budget/{action}/{name}"
    suffix = "" if action in {"init", "status"} else f"/{action}"
    return f"/api/v1/budget/scopes/{scope}/{name}{suffix}"
