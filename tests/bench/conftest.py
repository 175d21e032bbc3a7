"""The fixtures of these tests."""

from support.fixtures import nats_server, own_nats_server, own_postgres_server, own_stack, postgres_server, stack

__all__ = ["nats_server", "own_nats_server", "own_postgres_server", "own_stack", "postgres_server", "stack"]
