"""Roles, the database and its schemas: what only a superuser may create. Repeating it changes only
passwords, and the connections a role may open where the server's number is another."""

from collections.abc import Mapping
from typing import Final

import asyncpg

DATABASE: Final = "hookbus"
OWNER: Final = "hookbus_owner"
"""Owns every schema and runs the migrations; no service logs in as it."""
SCHEMAS: Final = ("budget", "session", "audit", "traces")
CONNECTION_SHARE: Final = (2, 5)
"""Of the server's connections, how many one role may open: a service that takes too many leaves the others theirs."""
CONNECT_TIMEOUT_S: Final = 5.0


def service_role(schema: str) -> str:
    """The login role of the service that owns ``schema``'s data."""
    return f"hookbus_{schema}"


def connections_per_role(connections_max: int) -> int:
    """How many connections one role may open on a server that takes ``connections_max``."""
    numerator, denominator = CONNECTION_SHARE
    return max(1, connections_max * numerator // denominator)


async def provision_roles(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Create the roles, the database and the schemas.

    Args:
        superuser_url: ``postgresql://`` address of any database of the server, as a superuser.
        passwords: role name -> password, for :data:`OWNER` and each :func:`service_role`.
    """
    connection = await asyncpg.connect(superuser_url, timeout=CONNECT_TIMEOUT_S)
    try:
        connections_max: int = await connection.fetchval("SELECT current_setting('max_connections')::integer")
        for role, password in passwords.items():
            await _provision_role(connection, role, password, connections_per_role(connections_max))
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
        await connection.execute(f"REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC")
        roles = ", ".join(service_role(schema) for schema in SCHEMAS)
        await connection.execute(f"GRANT CONNECT ON DATABASE {DATABASE} TO {roles}")
    finally:
        await connection.close()
    connection = await asyncpg.connect(superuser_url, database=DATABASE, timeout=CONNECT_TIMEOUT_S)
    try:
        await connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
        for schema in SCHEMAS:
            role = service_role(schema)
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {OWNER}")
            await connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            await connection.execute(f"ALTER ROLE {role} IN DATABASE {DATABASE} SET search_path = {schema}")
    finally:
        await connection.close()


async def _provision_role(
    connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str, connections: int
) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(
            f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION"
        )
    # A role statement takes no parameters; the server itself quotes the literal.
    statement = await connection.fetchval(
        "SELECT format('ALTER ROLE %I CONNECTION LIMIT %s PASSWORD %L', $1::text, $3::integer, $2::text)",
        role,
        password,
        connections,
    )
    await connection.execute(statement)
