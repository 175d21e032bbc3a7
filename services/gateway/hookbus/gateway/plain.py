"""A plain Starlette route that says which route it is, so that traces and metrics can name it."""

from starlette.routing import Match, Route
from starlette.types import Scope


class PlainRoute(Route):
    """A route for handlers that need nothing of FastAPI."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As the base class; a match puts this route into the scope, as FastAPI's own routes do."""
        match, child_scope = super().matches(scope)
        if match is not Match.NONE:
            child_scope["route"] = self
        return match, child_scope
