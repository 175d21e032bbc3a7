"""``/console/session/...``: the API's own login, refresh and password change, with the refresh token kept in halves.

The access token lives in the page's memory. Nothing here opens anything that ``/api/v1/session`` does not.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from hookbus.contracts.fields import WireModel
from hookbus.contracts.people import CREDENTIAL_CHARS_MAX, Credential, TokensReply
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway.calls import StateOf, body
from hookbus.gateway.console.halves import Halves, join, split
from hookbus.gateway.console.picture import qr_rows
from hookbus.gateway.routes import login as api
from hookbus.platform.settings import Environment

PATH: Final = "/console/session"
COOKIE: Final = "hookbus_console"
_SIGN_IN: Final = "sign in again"


class KeptBody(WireModel):
    """The page's half of the refresh token."""

    half: Credential = Field(repr=False)


class KeptTokens(WireModel):
    """What the page holds: the access token in memory, its half of the refresh token in its storage."""

    access_token: str = Field(repr=False)
    expires_in: int
    """Seconds."""
    half: str = Field(repr=False)
    session: str
    must_change_password: bool


class TotpStart(WireModel):
    """A TOTP secret that waits to be confirmed: to be scanned, or typed in."""

    secret: str = Field(repr=False)
    uri: str = Field(repr=False)
    rows: list[str] = Field(repr=False)
    """The QR code of ``uri``: ``1`` is dark."""


def router(environment: Environment) -> APIRouter:
    """The routes. In production, where TLS is the rule, the cookie travels over TLS alone."""
    made = APIRouter(prefix=PATH, include_in_schema=False)

    def keep(request: Request, response: Response, tokens: TokensReply) -> KeptTokens:
        halves = split(tokens.refresh_token)
        response.set_cookie(
            COOKIE,
            halves.cookie,
            path=PATH,
            secure=environment is Environment.PRODUCTION or request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return KeptTokens(
            access_token=tokens.access_token,
            expires_in=tokens.expires_in,
            half=halves.page,
            session=tokens.session,
            must_change_password=tokens.must_change_password,
        )

    @made.post("/login")
    async def login(  # pyright: ignore[reportUnusedFunction]  # the decorator registers it
        request: Request,
        response: Response,
        state: StateOf,
        wanted: Annotated[api.LoginBody, Depends(body(api.LoginBody))],
    ) -> KeptTokens:
        """As ``/api/v1/session/login``."""
        return keep(request, response, await api.login(request, state, wanted))

    @made.post("/refresh")
    async def refresh(  # pyright: ignore[reportUnusedFunction]  # as above
        request: Request, response: Response, state: StateOf, kept: Annotated[KeptBody, Depends(body(KeptBody))]
    ) -> KeptTokens:
        """As ``/api/v1/session/refresh``. Without the cookie, or with another's, there is no token to show."""
        cookie = request.cookies.get(COOKIE, "")[:CREDENTIAL_CHARS_MAX]
        token = join(Halves(cookie, kept.half))
        if not token:
            raise ProblemError(ProblemCode.UNAUTHENTICATED, _SIGN_IN)
        return keep(request, response, await api.refresh(request, state, api.RefreshBody(refresh_token=token)))

    @made.post("/password")
    async def password(  # pyright: ignore[reportUnusedFunction]  # as above
        request: Request,
        response: Response,
        state: StateOf,
        person: api.Person,
        change: Annotated[api.PasswordBody, Depends(body(api.PasswordBody))],
    ) -> KeptTokens:
        """As ``/api/v1/session/password``."""
        return keep(request, response, await api.password(request, state, person, change))

    @made.post("/confirm")
    async def confirm(  # pyright: ignore[reportUnusedFunction]  # as above
        request: Request,
        response: Response,
        state: StateOf,
        person: api.Person,
        proof: Annotated[api.ConfirmBody, Depends(body(api.ConfirmBody))],
    ) -> KeptTokens:
        """As ``/api/v1/session/confirm``."""
        return keep(request, response, await api.confirm(request, state, person, proof))

    @made.post("/totp")
    async def totp(  # pyright: ignore[reportUnusedFunction]  # as above
        state: StateOf, person: api.SettledPerson
    ) -> TotpStart:
        """As ``/api/v1/session/totp``, with a picture of the answer: made here, so that no page has to."""
        begun = await api.totp_begin(state, person)
        return TotpStart(secret=begun.secret, uri=begun.uri, rows=qr_rows(begun.uri))

    return made
