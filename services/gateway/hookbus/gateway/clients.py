"""Who calls, as far as the connection shows: address, network, user agent, and which headers in which order."""

from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final

from starlette.requests import HTTPConnection

from hookbus.contracts.networks import network_of
from hookbus.contracts.people import ADDRESS_CHARS_MAX, USER_AGENT_CHARS_MAX, ClientFacts

ADDRESS_UNKNOWN: Final = "unknown"
HOSTS_REMEMBERED_MAX: Final = 1_024
_IPV6_PREFIX_BITS: Final = 64
"""One customer of a provider holds a whole /64; its addresses count as one."""
_TELLING_HEADERS: Final = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"connection",
        b"dnt",
        b"sec-ch-ua",
        b"sec-ch-ua-mobile",
        b"sec-ch-ua-platform",
        b"sec-fetch-mode",
        b"sec-gpc",
        b"user-agent",
    }
)
"""Headers that a client sends with each request or with none: their set and order differ from one kind of client to
another, and not from one request to the next."""


def client_address(connection: HTTPConnection) -> str:
    """The peer's address, an IPv6 one as its network. A header changes it only where a trusted proxy sent it."""
    if connection.client is None:
        return ADDRESS_UNKNOWN
    return _counted(connection.client.host)


@lru_cache(HOSTS_REMEMBERED_MAX)
def _counted(host: str) -> str:
    """The address by which a host is counted. Remembered: every request asks, most of them from a few hosts."""
    try:
        address = ip_address(host)
    except ValueError:
        return ADDRESS_UNKNOWN
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(IPv6Address(int(address) >> _IPV6_PREFIX_BITS << _IPV6_PREFIX_BITS))
        address = address.ipv4_mapped
    return str(address)


def client_network(connection: HTTPConnection) -> str | None:
    """The network the peer is in, None where its address is not known."""
    return _network(client_address(connection))


@lru_cache(HOSTS_REMEMBERED_MAX)
def _network(address: str) -> str | None:
    return network_of(address)


def client_facts(connection: HTTPConnection) -> ClientFacts:
    """What tells one client from another. Header values other than the user agent's are not taken, and no header names
    of a WebSocket's handshake, which a client sends otherwise than its requests."""
    if connection.scope["type"] == "websocket":
        names: dict[bytes, None] = {}
    else:
        names = dict.fromkeys(name for name, _ in connection.headers.raw if name in _TELLING_HEADERS)
    return ClientFacts(
        address=client_address(connection)[:ADDRESS_CHARS_MAX],
        user_agent=connection.headers.get("user-agent", "")[:USER_AGENT_CHARS_MAX],
        header_names=tuple(name.decode("ascii") for name in names),
    )
