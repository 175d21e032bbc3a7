"""``/api/v1/users``: people. A one-time password is in the answer that makes it and nowhere else."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path

from hookbus.contracts.fields import WireModel
from hookbus.contracts.people import (
    Role,
    UserCreateRequest,
    UserListReply,
    UserListRequest,
    Username,
    UserPasswordReply,
    UserRequest,
    UserView,
)
from hookbus.contracts.session import KeyScope
from hookbus.gateway.calls import Admin, StateOf, body, describes, needs
from hookbus.gateway.routes.login import LOGIN_TIMEOUT_S

SERVICE: Final = "session"

router = APIRouter(prefix="/api/v1/users", tags=["people"])

Name = Annotated[Username, Path()]


class UserBody(WireModel):
    """A user to create."""

    username: Username
    role: Role = Role.VIEWER


@router.get("", response_model_exclude_none=True, openapi_extra=needs(KeyScope.ADMIN))
async def list_users(state: StateOf, _caller: Admin) -> UserListReply:
    """Every user, by name."""
    return await state.peers.call(SERVICE, "user_list", UserListRequest(), UserListReply)


@router.post(
    "", status_code=201, response_model_exclude_none=True, openapi_extra=describes(UserBody, scope=KeyScope.ADMIN)
)
async def create_user(
    state: StateOf, caller: Admin, user: Annotated[UserBody, Depends(body(UserBody))]
) -> UserPasswordReply:
    """Create a user, who must change the one-time password of the answer before anything else works."""
    request = UserCreateRequest(username=user.username, role=user.role, actor=caller.actor)
    return await state.peers.call(SERVICE, "user_create", request, UserPasswordReply, timeout_s=LOGIN_TIMEOUT_S)


@router.post("/{username}/reset", response_model_exclude_none=True, openapi_extra=needs(KeyScope.ADMIN))
async def reset_user(state: StateOf, caller: Admin, username: Name) -> UserPasswordReply:
    """A new one-time password for who lost theirs, or their device. Ends their sessions."""
    request = UserRequest(username=username, actor=caller.actor)
    return await state.peers.call(SERVICE, "user_reset", request, UserPasswordReply, timeout_s=LOGIN_TIMEOUT_S)


@router.delete("/{username}", response_model_exclude_none=True, openapi_extra=needs(KeyScope.ADMIN))
async def disable_user(state: StateOf, caller: Admin, username: Name) -> UserView:
    """Let a user in no more. Ends their sessions; the log keeps their name."""
    request = UserRequest(username=username, actor=caller.actor)
    return await state.peers.call(SERVICE, "user_disable", request, UserView)
