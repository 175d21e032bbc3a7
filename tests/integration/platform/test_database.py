"""The database of a service: provisioned twice, bounded pool, a role that can do its work and nothing else."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from support.servers import PostgresFixture

from hookbus.platform.database import provision
from hookbus.platform.database.engine import Database, is_transient
from hookbus.platform.settings import DatabaseSettings


def settings(server: PostgresFixture, pool_size: int = 2) -> DatabaseSettings:
    return DatabaseSettings.model_validate(
        {
            "nats_user": "budget",
            "nats_password": "unused",
            "http_port": 0,
            "database_url": server.database_url("budget"),
            "database_pool_size_max": pool_size,
        }
    )


async def test_provisioning_again_changes_nothing_but_the_password(postgres_server: PostgresFixture) -> None:
    """The job may run at every start: roles, schemas and data stay, and the given passwords are in force."""
    await provision.provision_roles(postgres_server.superuser_url, postgres_server.passwords)
    database = Database("budget", settings(postgres_server))
    await database.ping()
    await database.close()


async def test_provisioning_again_brings_a_role_the_limit_of_this_version(own_postgres_server: PostgresFixture) -> None:
    """A role that an earlier version made has that version's limit, and one whose server got room for more the old."""
    connection = await asyncpg.connect(own_postgres_server.superuser_url)
    try:
        connections_max = int(await connection.fetchval("SHOW max_connections"))
        for role in own_postgres_server.passwords:
            await connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT 1")
        await own_postgres_server.provision()
        rows = await connection.fetch(
            "SELECT rolname, rolconnlimit FROM pg_roles WHERE rolname = ANY($1)", list(own_postgres_server.passwords)
        )
    finally:
        await connection.close()
    expected = provision.connections_per_role(connections_max)
    assert {row["rolname"]: row["rolconnlimit"] for row in rows} == dict.fromkeys(
        own_postgres_server.passwords, expected
    )
    assert 1 < expected < connections_max


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE budget.intruder (id int)",
        "CREATE SCHEMA intruder",
        "CREATE ROLE intruder",
        "CREATE TABLE public.intruder (id int)",
        "SET ROLE hookbus_owner",
    ],
)
async def test_a_service_role_may_not_create(postgres_server: PostgresFixture, statement: str) -> None:
    """A service's role holds no right beyond what its migrations grant."""
    connection = await asyncpg.connect(postgres_server.database_url("budget"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_an_exhausted_pool_is_a_prompt_transient_error(postgres_server: PostgresFixture) -> None:
    """A caller who finds no free connection is told so within the pool's wait, and may come again."""
    database = Database("budget", settings(postgres_server, pool_size=1))
    async with database.begin() as connection:
        await connection.execute(text("SELECT 1"))
        with pytest.raises(SQLAlchemyError) as exhausted:
            async with asyncio.timeout(5):
                await database.ping()
    assert is_transient(exhausted.value)
    await database.close()


async def test_the_pool_recovers_after_the_server_was_killed(own_postgres_server: PostgresFixture) -> None:
    """While PostgreSQL is dead errors are transient; once it is back the same pool works."""
    database = Database("budget", settings(own_postgres_server))
    await database.ping()
    own_postgres_server.kill()
    with pytest.raises((SQLAlchemyError, OSError)) as dead:
        await database.ping()
    assert is_transient(dead.value)
    own_postgres_server.restart_after_death()
    await database.ping()
    await database.close()


async def test_a_statement_under_way_when_the_server_dies_may_be_repeated(own_postgres_server: PostgresFixture) -> None:
    """Its error names a lost connection, not a faulty statement: nothing may be given up for it."""
    database = Database("budget", settings(own_postgres_server))
    async with database.raw() as connection:
        await connection.execute("SET statement_timeout = 0")
        waiting = asyncio.create_task(connection.execute("SELECT pg_sleep(3600)"))
        await asyncio.sleep(0.1)
        own_postgres_server.kill()
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)) as lost:
            await waiting
    assert is_transient(lost.value)
    await database.close()


@pytest.mark.parametrize(
    ("error", "may_pass"),
    [
        (asyncpg.ConnectionDoesNotExistError, True),
        (asyncpg.DiskFullError, True),
        (asyncpg.TooManyConnectionsError, True),
        (asyncpg.PostgresIOError, True),
        (asyncpg.LockNotAvailableError, True),
        (asyncpg.CrashShutdownError, True),
        (asyncpg.InternalClientError, True),
        (asyncpg.UniqueViolationError, False),
        (asyncpg.NumericValueOutOfRangeError, False),
        (asyncpg.UndefinedTableError, False),
    ],
)
def test_what_may_pass_is_told_from_what_never_can(error: type[Exception], may_pass: bool) -> None:
    assert is_transient(error("as the server said")) is may_pass


async def test_errors_hide_parameters(postgres_server: PostgresFixture) -> None:
    """A failing statement's message, which ends in logs, does not carry the values it was given."""
    database = Database("budget", settings(postgres_server))
    with pytest.raises(SQLAlchemyError) as failed:
        async with database.begin() as connection:
            await connection.execute(text("SELECT CAST(:value AS integer) / 0"), {"value": 4711})
    assert "4711" not in str(failed.value)
    assert not is_transient(failed.value)
    await database.close()
