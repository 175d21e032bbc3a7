"""``hookbus mcp``. The ``mcp`` package is imported when the command runs: no other command waits for it."""

import asyncio
import importlib.util
from typing import Annotated, Final

import typer

from hookbus.cli import api
from hookbus.cli.errors import EXIT_USAGE, CliError
from hookbus.client.identity import is_agent_id, scope_name

HOST_DEFAULT: Final = "127.0.0.1"
PORT_DEFAULT: Final = 8788


def mcp(
    agent: Annotated[str | None, typer.Option("--agent", help="The agent it speaks for: HOOKBUS_AGENT_ID.")] = None,
    project: Annotated[str | None, typer.Option("--project", help="The project of its notes.")] = None,
    host: Annotated[str, typer.Option("--host", help="With --http: the address to listen on.")] = HOST_DEFAULT,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="With --http; 0 takes a free one.")] = (
        PORT_DEFAULT
    ),
    *,
    http: Annotated[
        bool, typer.Option("--http", help="Streamable HTTP instead of stdio; every request bears an API key.")
    ] = False,
) -> None:
    """Serve one agent over the Model Context Protocol: its budget, its status, why it was denied, notes.

    On stdio calls are made with the key of the settings, which needs the scopes events and budget:read; over HTTP with
    the key that each request bears.
    """
    settings = api.settings()
    agent_id = agent or settings.agent_id
    if agent_id is None or not is_agent_id(agent_id):
        raise CliError("--agent (or HOOKBUS_AGENT_ID) wants 1-64 of a-z A-Z 0-9 _ -", EXIT_USAGE)
    named = scope_name(project) if project else settings.project
    if project and named is None:
        raise CliError("--project wants 1-64 of a-z A-Z 0-9 . _ -", EXIT_USAGE)
    if importlib.util.find_spec("mcp") is None:
        raise CliError("the mcp package is not installed: pip install 'hookbus-cli[mcp]'", EXIT_USAGE)
    from hookbus.cli.mcp_server.gateway import AgentGateway  # noqa: PLC0415 - only this command needs mcp
    from hookbus.cli.mcp_server.server import Caller, build  # noqa: PLC0415 - as above

    async def run() -> None:
        async with AgentGateway(settings, agent_id, named) as gateway:
            server = build(gateway, Caller(settings.api_key, from_request=http))
            if not http:
                await server.run_stdio_async()
                return
            from hookbus.cli.mcp_server.http import serve  # noqa: PLC0415 - as above

            await serve(server, gateway, host, port)

    asyncio.run(run())
