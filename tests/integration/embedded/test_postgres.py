"""The embedded PostgreSQL: passwords needed everywhere, and it survives the death of its postmaster."""

import os
import signal
import stat

import asyncpg
import pytest
from support.servers import PostgresFixture


async def one(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_every_way_in_needs_the_password(postgres_server: PostgresFixture) -> None:
    server = postgres_server.server
    for host in ("127.0.0.1", str(server.data_folder)):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host=host, port=server.port, user="postgres", password="wrong", database="postgres")
    methods = await one(server.url("postgres"), "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules")
    assert methods == ["scram-sha-256"]


async def test_commits_are_durable(postgres_server: PostgresFixture) -> None:
    url = postgres_server.server.url("postgres")
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert await one(url, f"SHOW {setting}") == "on", setting


async def test_listens_on_loopback_only(postgres_server: PostgresFixture) -> None:
    assert await one(postgres_server.server.url("postgres"), "SHOW listen_addresses") == "127.0.0.1"


async def test_survives_kill_9_of_the_postmaster(own_postgres_server: PostgresFixture) -> None:
    """A session is open and busy while the postmaster dies; the next start finds what was committed."""
    url = own_postgres_server.server.url("postgres")
    await one(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    busy = await asyncpg.connect(url)
    pid = own_postgres_server.process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    own_postgres_server.restart_after_death()
    assert await one(url, "SELECT answer FROM kept") == 42
    busy.terminate()


def test_files_are_closed_to_others(postgres_server: PostgresFixture) -> None:
    server = postgres_server.server
    assert stat.S_IMODE(server.data_folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.folder.stat().st_mode) & 0o066 == 0
    secrets_folder = server.folder.parent / "secrets"
    assert secrets_folder.stat().st_mode & 0o077 == 0
    for path in secrets_folder.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path
    assert server.password not in repr(server)
    assert not list(server.folder.glob("initdb-*"))
