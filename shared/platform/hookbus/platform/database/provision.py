"""Roles, the database and its schemas: what only a superuser may create. Repeating it changes only passwords."""

from collections.abc import Mapping
from typing import Final

import asyncpg

DATABASE: Final = "hookbus"
OWNER: Final = "hookbus_owner"
"""Owns every schema and runs the migrations; no service logs in as it."""
SCHEMAS: Final = ("budget", "session", "audit", "traces")
CONNECTIONS_PER_ROLE_MAX: Final = 40
CONNECT_TIMEOUT_S: Final = 5.0


def service_role(schema: str) -> str:
    """The login role of the service that owns ``schema``'s data."""
    return f"hookbus_{schema}"


async def provision_roles(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Create the roles, the database and the schemas.

    Args:
        superuser_url: ``postgresql://`` address of any database of the server, as a superuser.
        passwords: role name -> password, for :data:`OWNER` and each :func:`service_role`.
    """
    connection = await asyncpg.connect(superuser_url, timeout=CONNECT_TIMEOUT_S)
    try:
        for role, password in passwords.items():
            await _provision_role(connection, role, password)
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


async def _provision_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str) -> None:
    if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        await connection.execute(
            f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT NOREPLICATION "
            f"CONNECTION LIMIT {CONNECTIONS_PER_ROLE_MAX}"
        )
    # A role statement takes no parameters; the server itself quotes the literal.
    statement = await connection.fetchval(
        "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)", role, password
    )
    await connection.execute(statement)
