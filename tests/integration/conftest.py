"""The fixtures of these tests."""

from support.fixtures import nats_server, own_nats_server, own_postgres_server, postgres_server

__all__ = ["nats_server", "own_nats_server", "own_postgres_server", "postgres_server"]
