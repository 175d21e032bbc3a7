"""``/api/v1/session/...``: people log in, stay and go; ``/.well-known/jwks.json``."""

from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from hookbus.contracts.fields import WireModel
from hookbus.contracts.people import (
    LOGIN_NAME_CHARS_MAX,
    ConfirmRequest,
    Credential,
    JwksReply,
    LoginRequest,
    OneTimeCode,
    Password,
    PasswordRequest,
    PersonSessionRecord,
    PersonSessionRequest,
    RefreshRequest,
    TokensReply,
    TotpCodeRequest,
    TotpReply,
    UserView,
)
from hookbus.contracts.problems import STATUS_BY_CODE, TITLE_BY_CODE, ProblemCode, ProblemError
from hookbus.gateway.auth import check_settled
from hookbus.gateway.calls import StateOf, body, describes
from hookbus.gateway.clients import client_facts
from hookbus.gateway.problems import MEDIA_TYPE as MEDIA_TYPE_PROBLEM
from hookbus.gateway.state import State, state_of
from hookbus.gateway.tokens import TokenHolder

ReplyT = TypeVar("ReplyT", bound=WireModel)

SERVICE: Final = "session"
LOGIN_TIMEOUT_S: Final = 20.0
"""Logins wait for each other: each costs a slow hash."""
OWN: Final[dict[str, Any]] = {"security": [{"apiKey": []}], "x-hookbus-scope": "own"}
"""The ``openapi_extra`` of a route for the person of an access token, whatever their role."""
OPEN: Final[dict[str, Any]] = {
    "responses": {
        str(STATUS_BY_CODE[code]): {
            "description": TITLE_BY_CODE[code],
            "content": {MEDIA_TYPE_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for code in ProblemCode
    }
}
"""The ``openapi_extra`` of a route that needs no credential and still refuses."""

router = APIRouter(tags=["people"])


class LoginBody(WireModel):
    """Name and password, and the one-time code where the user has set one up."""

    username: Annotated[str, Field(strict=True, min_length=1, max_length=LOGIN_NAME_CHARS_MAX)]
    password: Password = Field(repr=False)
    totp: OneTimeCode | None = None


class RefreshBody(WireModel):
    """The refresh token that the last answer gave."""

    refresh_token: Credential = Field(repr=False)


class PasswordBody(WireModel):
    """The password and what it becomes."""

    current_password: Password = Field(repr=False)
    new_password: Password = Field(repr=False)


class ConfirmBody(WireModel):
    """The password once more, and the one-time code where the user has set one up."""

    password: Password = Field(repr=False)
    totp: OneTimeCode | None = None


class CodeBody(WireModel):
    """A code of the authenticator application."""

    code: OneTimeCode


async def _person(request: Request) -> TokenHolder:
    return await state_of(request).authenticator.person(request)


async def _settled_person(request: Request) -> TokenHolder:
    holder = await _person(request)
    check_settled(holder)
    return holder


Person = Annotated[TokenHolder, Depends(_person)]
SettledPerson = Annotated[TokenHolder, Depends(_settled_person)]


@router.post("/api/v1/session/login", openapi_extra=describes(LoginBody) | OPEN)
async def login(
    request: Request, state: StateOf, wanted: Annotated[LoginBody, Depends(body(LoginBody))]
) -> TokensReply:
    """Open a session. A wrong name and a wrong password are answered alike."""
    address = state.authenticator.check_attempts(request)
    ask = LoginRequest(
        username=wanted.username, password=wanted.password, totp=wanted.totp, client=client_facts(request)
    )
    return await _counted(state, address, "login", ask, TokensReply)


@router.post("/api/v1/session/refresh", openapi_extra=describes(RefreshBody) | OPEN)
async def refresh(
    request: Request, state: StateOf, shown: Annotated[RefreshBody, Depends(body(RefreshBody))]
) -> TokensReply:
    """A new access token, and the refresh token's successor. A replaced token that comes again ends the session."""
    address = state.authenticator.check_attempts(request)
    ask = RefreshRequest(refresh_token=shown.refresh_token, client=client_facts(request))
    return await _counted(state, address, "refresh", ask, TokensReply)


@router.post("/api/v1/session/logout", openapi_extra=OWN)
async def logout(state: StateOf, person: Person) -> PersonSessionRecord:
    """End the session of the access token: every gateway refuses it within a second."""
    return await state.peers.call(SERVICE, "logout", PersonSessionRequest(sid=person.sid), PersonSessionRecord)


@router.post("/api/v1/session/password", openapi_extra=describes(PasswordBody) | OWN)
async def password(
    request: Request, state: StateOf, person: Person, change: Annotated[PasswordBody, Depends(body(PasswordBody))]
) -> TokensReply:
    """Change one's own password. Ends all other sessions; this one goes on under the tokens of the answer."""
    address = state.authenticator.check_attempts(request)
    ask = PasswordRequest(
        sid=person.sid,
        current_password=change.current_password,
        new_password=change.new_password,
        client=client_facts(request),
    )
    return await _counted(state, address, "password", ask, TokensReply)


@router.post("/api/v1/session/confirm", openapi_extra=describes(ConfirmBody) | OWN)
async def confirm(
    request: Request, state: StateOf, person: Person, proof: Annotated[ConfirmBody, Depends(body(ConfirmBody))]
) -> TokensReply:
    """Give the password again, where the session looks like another client's. It goes on under the tokens of the
    answer; whoever holds an older one is out."""
    address = state.authenticator.check_attempts(request)
    ask = ConfirmRequest(sid=person.sid, password=proof.password, totp=proof.totp, client=client_facts(request))
    return await _counted(state, address, "confirm", ask, TokensReply)


@router.get("/api/v1/session/account", response_model_exclude_none=True, openapi_extra=OWN)
async def account(state: StateOf, person: SettledPerson) -> UserView:
    """The person's own account: role, second factor, sessions."""
    return await state.peers.call(SERVICE, "account", PersonSessionRequest(sid=person.sid), UserView)


@router.post("/api/v1/session/totp", openapi_extra=OWN)
async def totp_begin(state: StateOf, person: SettledPerson) -> TotpReply:
    """A secret for an authenticator application. It counts once its first code is confirmed."""
    return await state.peers.call(SERVICE, "totp_begin", PersonSessionRequest(sid=person.sid), TotpReply)


@router.post("/api/v1/session/totp/confirm", response_model_exclude_none=True, openapi_extra=describes(CodeBody) | OWN)
async def totp_confirm(
    request: Request, state: StateOf, person: SettledPerson, shown: Annotated[CodeBody, Depends(body(CodeBody))]
) -> UserView:
    """From now on a login asks for a code."""
    address = state.authenticator.check_attempts(request)
    ask = TotpCodeRequest(sid=person.sid, code=shown.code)
    return await _counted(state, address, "totp_confirm", ask, UserView)


@router.post("/api/v1/session/totp/remove", response_model_exclude_none=True, openapi_extra=describes(CodeBody) | OWN)
async def totp_remove(
    request: Request, state: StateOf, person: SettledPerson, shown: Annotated[CodeBody, Depends(body(CodeBody))]
) -> UserView:
    """Logins ask for no code any more."""
    address = state.authenticator.check_attempts(request)
    ask = TotpCodeRequest(sid=person.sid, code=shown.code)
    return await _counted(state, address, "totp_remove", ask, UserView)


@router.get("/.well-known/jwks.json")
async def jwks(state: StateOf) -> JwksReply:
    """The public keys of access tokens (RFC 7517)."""
    return await state.authenticator.tokens.keys.document()


async def _counted(state: State, address: str, method: str, ask: WireModel, reply: type[ReplyT]) -> ReplyT:
    """Ask, and count a refusal against the address: guessing has an end."""
    try:
        return await state.peers.call(SERVICE, method, ask, reply, timeout_s=LOGIN_TIMEOUT_S)
    except ProblemError as error:
        if error.problem.code is ProblemCode.UNAUTHENTICATED:
            state.authenticator.failed(address)
        raise
