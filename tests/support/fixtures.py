"""Fixtures: real servers, one of each for the whole run, and a fresh one where a test stops it."""

import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from support.servers import NatsFixture, PostgresFixture
from support.stack import ANCHOR_NAME, StackFixture


@contextmanager
def server_folder() -> Generator[Path]:
    """A folder for one server's data.

    It lies outside pytest's own temporary folder: PostgreSQL, which does not run as root, must be let through to its
    data, and every other pytest run of the same user closes that folder's parent again.
    """
    root = Path(tempfile.mkdtemp(prefix="hookbus-test-"))
    try:
        folder = root / "data"
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def _nats() -> AsyncGenerator[NatsFixture]:
    with server_folder() as folder:
        server = NatsFixture.launch(folder)
        try:
            await server.provision()
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def _postgres() -> AsyncGenerator[PostgresFixture]:
    with server_folder() as folder:
        server = PostgresFixture.launch(folder)
        try:
            await server.provision()
            yield server
        finally:
            server.stop()


@contextmanager
def _stack() -> Generator[StackFixture]:
    with server_folder() as folder:
        # The stack makes its data folder itself, as at a user's first start.
        running = StackFixture.launch(folder / "stack", HOOKBUS_AUDIT_ANCHOR_FILE=str(folder / ANCHOR_NAME))
        try:
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
async def nats_server() -> AsyncGenerator[NatsFixture]:
    """A provisioned nats-server for the tests of one module, which use ids and agents of their own and never stop it.

    Not for the whole run: the services that one module runs on it would answer and consume for the next.
    """
    async with _nats() as server:
        yield server


@pytest.fixture
async def own_nats_server() -> AsyncGenerator[NatsFixture]:
    """A provisioned nats-server for one test, which may stop, start and kill it."""
    async with _nats() as server:
        yield server


@pytest.fixture(scope="session")
async def postgres_server() -> AsyncGenerator[PostgresFixture]:
    """PostgreSQL with database, schemas and roles, shared by the run. Each service's tests migrate their own schema."""
    async with _postgres() as server:
        yield server


@pytest.fixture
async def own_postgres_server() -> AsyncGenerator[PostgresFixture]:
    """PostgreSQL for one test, which may stop, start and kill it."""
    async with _postgres() as server:
        yield server


@pytest.fixture(scope="session")
def stack() -> Generator[StackFixture]:
    """The whole stack, shared by the run. A test that kills a process waits until the stack is whole again."""
    with _stack() as running:
        yield running


@pytest.fixture
def own_stack() -> Generator[StackFixture]:
    """The whole stack for one test, which may stop and start it."""
    with _stack() as running:
        yield running
