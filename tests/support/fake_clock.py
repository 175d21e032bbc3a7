"""A database clock that tests set: ``clock_timestamp()`` of one role, found in a schema before the server's own."""

from datetime import datetime

import asyncpg

from support.servers import PostgresFixture


async def install(postgres: PostgresFixture, role: str, schema: str, start: datetime) -> None:
    """Let ``role`` see a clock that stands at ``start`` until it is moved."""
    connection = await asyncpg.connect(postgres.superuser_url)
    try:
        await connection.execute("CREATE SCHEMA fake_clock")
        await connection.execute("CREATE TABLE fake_clock.moment (at timestamptz NOT NULL)")
        await connection.execute("INSERT INTO fake_clock.moment VALUES ($1)", start)
        await connection.execute(
            "CREATE FUNCTION fake_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE"
            " AS 'SELECT at FROM fake_clock.moment'"
        )
        await connection.execute(f"GRANT USAGE ON SCHEMA fake_clock TO {role}")
        await connection.execute(f"GRANT SELECT ON fake_clock.moment TO {role}")
        path = f"fake_clock, {schema}, pg_catalog"
        await connection.execute(f"ALTER ROLE {role} IN DATABASE hookbus SET search_path = {path}")
    finally:
        await connection.close()


async def move(postgres: PostgresFixture, moment: datetime) -> None:
    """Set the clock, forwards or backwards."""
    connection = await asyncpg.connect(postgres.superuser_url)
    try:
        await connection.execute("UPDATE fake_clock.moment SET at = $1", moment)
    finally:
        await connection.close()
