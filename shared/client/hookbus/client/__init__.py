"""The hookbus client: hooks, events and decisions on the standard library alone.

``from hookbus.client import Client``. Its names are imported when they are first asked for: a hook pays for none.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hookbus.client.asynchronous import AsyncClient
    from hookbus.client.client import (
        Client,
        ClientError,
        Decision,
        DeniedError,
        Published,
        Reservation,
        SpoolError,
    )

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Decision",
    "DeniedError",
    "Published",
    "Reservation",
    "SpoolError",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "AsyncClient":
        from hookbus.client.asynchronous import AsyncClient

        return AsyncClient
    from hookbus.client import client

    return getattr(client, name)
