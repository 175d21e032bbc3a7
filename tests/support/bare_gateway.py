"""The reference of the decide bench: an HTTP server that asks two bare responders and stores one message, no more.

Run as ``python bare_gateway.py PORT NATS_URL SUBJECT_READ SUBJECT_WRITE SUBJECT_STORED``, the gateway's password in
``HOOKBUS_NATS_PASSWORD``: the same server, loop, parser and client of the bus as the gateway.
"""

import os
import sys
import uuid

import uvicorn
from nats.aio.client import Client
from starlette.types import Receive, Scope, Send

from hookbus.platform.bus.connection import connect_plain

USER = "gateway"
TIMEOUT_S = 5.0
ROWS = 200


class Application:
    """Read the body, ask, ask, store, answer 202."""

    def __init__(self, url: str, asked: tuple[str, ...], stored: str) -> None:
        self._url = url
        self._asked = asked
        self._stored = stored
        self._client: Client | None = None
        self._calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        assert self._client is not None
        self._calls += 1
        row = str(self._calls % ROWS).encode()
        for subject in self._asked:
            await self._client.request(subject, row, timeout=TIMEOUT_S)
        headers = {"Nats-Msg-Id": uuid.uuid4().hex}
        await self._client.request(self._stored, body, timeout=TIMEOUT_S, headers=headers)
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._client = await connect_plain(self._url, USER, os.environ["HOOKBUS_NATS_PASSWORD"])
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._client.close()
        await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    port, address, *asked, stored = sys.argv[1:]
    uvicorn.run(
        Application(address, tuple(asked), stored),
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
    )
