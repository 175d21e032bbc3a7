"""uvicorn's WebSocket protocol with one thing more: the application can cut a connection that takes nothing."""

from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

EXTENSION_ABORT: Final = "hookbus.abort"
"""In the scope's extensions: closes the connection at once, whatever waits in its buffer. A plain close waits until the
peer has taken all of it, which one that stopped reading never does."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """For ``uvicorn.run(ws=...)``."""

    def handle_connect(self, event: Request) -> None:
        """As the base class; then the scope names the way to abort, before the application runs."""
        super().handle_connect(event)
        extensions = getattr(self, "scope", {}).get("extensions")
        if extensions is not None:
            extensions[EXTENSION_ABORT] = self.transport.abort
