"""A person of the session service under test: made, let in, asked."""

import uuid
from dataclasses import dataclass

from hookbus.contracts.people import (
    LoginRequest,
    PasswordRequest,
    RefreshRequest,
    Role,
    TokensReply,
    UserCreateRequest,
    UserPasswordReply,
)
from support.session_service import SessionStack

TIMEOUT_S = 30.0


@dataclass
class Person:
    """A user who has set a password of their own, and the session they did it in."""

    stack: SessionStack
    username: str
    password: str
    tokens: TokensReply

    async def login(self, password: str | None = None, totp: str | None = None) -> TokensReply:
        return await login(self.stack, self.username, password or self.password, totp)

    async def refresh(self, token: str) -> TokensReply:
        return await refresh(self.stack, token)


async def login(stack: SessionStack, username: str, password: str, totp: str | None = None) -> TokensReply:
    request = LoginRequest(username=username, password=password, totp=totp)
    return await stack.rpc.call("session", "login", request, TokensReply, timeout_s=TIMEOUT_S)


async def refresh(stack: SessionStack, token: str) -> TokensReply:
    request = RefreshRequest(refresh_token=token)
    return await stack.rpc.call("session", "refresh", request, TokensReply, timeout_s=TIMEOUT_S)


async def change_password(stack: SessionStack, sid: str, current: str, new: str) -> TokensReply:
    request = PasswordRequest(sid=sid, current_password=current, new_password=new)
    return await stack.rpc.call("session", "password", request, TokensReply, timeout_s=TIMEOUT_S)


async def new_user(stack: SessionStack, role: Role = Role.VIEWER) -> UserPasswordReply:
    request = UserCreateRequest(username=f"u-{uuid.uuid4().hex[:12]}", role=role, actor="test")
    return await stack.rpc.call("session", "user_create", request, UserPasswordReply, timeout_s=TIMEOUT_S)


async def new_person(stack: SessionStack, role: Role = Role.VIEWER) -> Person:
    made = await new_user(stack, role)
    username = made.user.username
    first = await login(stack, username, made.one_time_password)
    assert first.must_change_password
    password = f"a fine long {uuid.uuid4().hex}"
    tokens = await change_password(stack, first.session, made.one_time_password, password)
    return Person(stack, username, password, tokens)
