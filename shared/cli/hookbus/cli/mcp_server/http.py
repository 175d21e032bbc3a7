"""The server over streamable HTTP. Every request bears an API key of the gateway, which is asked about it each time."""

import socket
import sys
from typing import Any, Final

import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hookbus.cli.errors import EXIT_USAGE, CliError
from hookbus.cli.mcp_server.gateway import AgentGateway

PATH: Final = "/mcp"
BODY_BYTES_MAX: Final = 64 * 1024
"""Far above the longest note."""
CONNECTIONS_MAX: Final = 64
GRACE_S: Final = 3
LISTEN_BACKLOG: Final = 64


class RequireKey:
    """Lets a request through whose bearer credential the gateway accepts."""

    def __init__(self, app: ASGIApp, gateway: AgentGateway) -> None:
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = await self._refusal(Headers(scope=scope).get("authorization", ""))
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    async def _refusal(self, authorization: str) -> JSONResponse | None:
        scheme, _, credential = authorization.partition(" ")
        credential = credential.strip()
        usable = credential.isascii() and credential.isprintable() and " " not in credential
        if scheme.lower() != "bearer" or not credential or not usable:
            return _refused(401, "send an API key: Authorization: Bearer ...")
        status = await self._gateway.check_key(credential)
        if status == 200:
            return None
        if status in (401, 403):
            return _refused(status, "the gateway refuses the API key" if status == 401 else "it lacks the scope events")
        return _refused(503, "the gateway cannot check the API key")


async def serve(server: MCPServer[Any], gateway: AgentGateway, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM; says on stderr where.

    Raises:
        CliError: the address cannot be had.
    """
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        # Nothing is kept between two requests, so each is judged by its own key alone.
        stateless_http=True,
        max_request_body_size=BODY_BYTES_MAX,
        host=host,
    )
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
    except OSError as error:
        raise CliError(f"{host} port {port} cannot be had: {error.strerror or error}", EXIT_USAGE) from error
    with listener:
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(f"hookbus mcp: http://{shown}:{listener.getsockname()[1]}{PATH}\n")
        sys.stderr.flush()
        config = uvicorn.Config(
            RequireKey(app, gateway),
            log_level="warning",
            access_log=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
        await uvicorn.Server(config).serve(sockets=[listener])


def _refused(status: int, error: str) -> JSONResponse:
    return JSONResponse({"error": error}, status_code=status, headers={"www-authenticate": "Bearer"})
