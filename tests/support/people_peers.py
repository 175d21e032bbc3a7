"""A responder for the requests about people: it knows users by name and lets nobody in."""

from datetime import UTC, datetime

from hookbus.contracts import people
from hookbus.contracts.budget import Empty
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcServer

CREATED_AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def serve_people(server: RpcServer) -> None:  # noqa: C901 - one small responder for each method
    def view(username: str) -> people.UserView:
        if username.startswith("nobody"):
            raise ProblemError(ProblemCode.NOT_FOUND, "no such user")
        return people.UserView(
            username=username,
            role=people.Role.VIEWER,
            created_at=CREATED_AT,
            must_change_password=True,
            totp=False,
            sessions=0,
        )

    async def login(_request: people.LoginRequest) -> people.TokensReply:
        raise ProblemError(ProblemCode.UNAUTHENTICATED, "the username or password is not valid")

    async def refresh(_request: people.RefreshRequest) -> people.TokensReply:
        raise ProblemError(ProblemCode.UNAUTHENTICATED, "the refresh token is not valid")

    async def jwks(_request: Empty) -> people.JwksReply:
        return people.JwksReply(keys=())

    async def lookup(_request: people.PersonSessionRequest) -> people.PersonSessionRecord:
        raise ProblemError(ProblemCode.NOT_FOUND, "no such session")

    async def create(request: people.UserCreateRequest) -> people.UserPasswordReply:
        return people.UserPasswordReply(user=view(request.username), one_time_password="only-once")

    async def reset(request: people.UserRequest) -> people.UserPasswordReply:
        return people.UserPasswordReply(user=view(request.username), one_time_password="only-once")

    async def disable(request: people.UserRequest) -> people.UserView:
        return view(request.username)

    async def list_users(_request: people.UserListRequest) -> people.UserListReply:
        return people.UserListReply(users=())

    server.method("login", people.LoginRequest, login)
    server.method("refresh", people.RefreshRequest, refresh)
    server.method("jwks", Empty, jwks)
    server.method("person_lookup", people.PersonSessionRequest, lookup)
    server.method("user_create", people.UserCreateRequest, create)
    server.method("user_reset", people.UserRequest, reset)
    server.method("user_disable", people.UserRequest, disable)
    server.method("user_list", people.UserListRequest, list_users)
