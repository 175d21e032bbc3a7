"""``/api/v1/session/me``: who the credential is, and what it may do."""

from typing import Any, Final

from fastapi import APIRouter, Request

from hookbus.contracts.fields import WireModel
from hookbus.contracts.session import KeyScope
from hookbus.gateway.calls import StateOf

ANY: Final[dict[str, Any]] = {"security": [{"apiKey": []}], "x-hookbus-scope": "any"}

router = APIRouter(tags=["people"])


class Identity(WireModel):
    """The owner of an API key or of an access token."""

    actor: str
    """As ledgers and the audit log name them: ``user:<name>`` or ``key:<id>``."""
    username: str | None = None
    """None for an API key."""
    session: str | None = None
    """The person's session; None for an API key."""
    scopes: tuple[KeyScope, ...]
    """Everything allowed: ``admin`` is spelt out."""


@router.get("/api/v1/session/me", response_model_exclude_none=True, openapi_extra=ANY)
async def me(request: Request, state: StateOf) -> Identity:
    """The caller, whatever their scopes."""
    caller = await state.authenticator.caller(request)
    return Identity(
        actor=caller.actor,
        username=caller.username,
        session=None if caller.username is None else caller.key_id,
        scopes=tuple(scope for scope in KeyScope if caller.may(scope)),
    )
