"""A reader of the live stream."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

WAIT_S = 30.0


def address(url: str, query: str = "") -> str:
    return f"{url.replace('http', 'ws', 1)}/api/v1/stream{query}"


@asynccontextmanager
async def reading(
    url: str, credential: str | None, query: str = "", **options: Any
) -> AsyncGenerator[ClientConnection]:
    """A stream that is open; without ``credential`` nothing was said yet."""
    headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
    async with connect(address(url, query), additional_headers=headers, proxy=None, **options) as socket:
        if credential is not None:
            opened = json.loads(await socket.recv())
            assert opened["stream"] == "open"
        yield socket
