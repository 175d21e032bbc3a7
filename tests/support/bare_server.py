"""The reference of the ingest bench: an HTTP server that answers 202 and does nothing else.

Run as ``python bare_server.py PORT``: the same uvicorn, loop and parser as the gateway, no framework.
"""

import sys

import uvicorn
from starlette.types import Receive, Scope, Send


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, answer 202."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
    )
