"""The fixtures of these tests."""

from support.console_desk import at_desk, browser, desk
from support.fixtures import nats_server, own_nats_server, own_postgres_server, own_stack, postgres_server, stack

__all__ = [
    "at_desk",
    "browser",
    "desk",
    "nats_server",
    "own_nats_server",
    "own_postgres_server",
    "own_stack",
    "postgres_server",
    "stack",
]
