"""Free TCP ports."""

import random
import socket
from contextlib import ExitStack
from typing import Final

LOOPBACK: Final = "127.0.0.1"

PORT_MIN: Final = 20_000
PORT_MAX: Final = 31_999
"""Below the range from which systems number outgoing connections: while a server restarts, no connection of some
other program takes its port."""
ATTEMPTS_MAX: Final = 1_000


class NoFreePortError(Exception):
    """No free port was found in the range."""


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """``count`` different ports that nobody listened on a moment ago: all are held at once while they are picked.

    Raises:
        NoFreePortError: too few ports are free.

    """
    ports: list[int] = []
    with ExitStack() as held:
        for _ in range(ATTEMPTS_MAX):
            if len(ports) == count:
                return ports
            port = random.randint(PORT_MIN, PORT_MAX)  # noqa: S311 - not a secret
            listener = held.enter_context(socket.socket(_family(host), socket.SOCK_STREAM))
            try:
                listener.bind((host, port))
            except OSError:
                continue
            ports.append(port)
    raise NoFreePortError(f"no free port on {host} between {PORT_MIN} and {PORT_MAX}")


def free_port(host: str = LOOPBACK) -> int:
    """One free port.

    Raises:
        NoFreePortError: none was found.

    """
    return free_ports(1, host)[0]


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as listener:
        # As servers do: a port whose last connections still time out counts as free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
        return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
