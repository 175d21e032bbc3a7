"""The references without work that benches hold hookbus against, each of its own processes."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from nats.errors import Error as NatsError

import support
from hookbus.embedded.ports import free_ports
from support.servers import NatsFixture, PostgresFixture
from support.waiting import eventually

ROWS: Final = 256
TABLE: Final = "public.bench"
READ: Final = f"SELECT count FROM {TABLE} WHERE id = $1"
WRITE: Final = f"UPDATE {TABLE} SET count = count + 1 WHERE id = $1"
ANSWER_TIMEOUT_S: Final = 1.0


@asynccontextmanager
async def bare_server() -> AsyncGenerator[str]:
    """The address of a server that answers 202 and does nothing else."""
    (port,) = free_ports(1)
    with _process("bare_server.py", str(port)):
        yield await _answering(port)


@asynccontextmanager
async def bare_ledger(nats: NatsFixture, postgres: PostgresFixture, subject: str) -> AsyncGenerator[None]:
    """A responder that commits one single-row UPDATE for each request on ``subject``, one of the budget's."""
    async with _table(postgres):
        with _responder(nats, postgres, "budget", subject, WRITE):
            await _responding(nats, subject)
            yield


@asynccontextmanager
async def bare_chain(nats: NatsFixture, postgres: PostgresFixture) -> AsyncGenerator[str]:
    """The address of a server that passes each request along as a decision goes, with nothing done on the way: a
    SELECT behind the bus, an UPDATE and its commit behind the bus, a message stored in the stream, 202."""
    read, write, stored = "rpc.session.bench", "rpc.budget.bench", "hooks.pre-task.bench"
    (port,) = free_ports(1)
    async with _table(postgres):
        with (
            _responder(nats, postgres, "session", read, READ),
            _responder(nats, postgres, "budget", write, WRITE),
            _process("bare_gateway.py", str(port), nats.url, read, write, stored, password=nats.password("gateway")),
        ):
            for subject in (read, write):
                await _responding(nats, subject)
            yield await _answering(port)


@asynccontextmanager
async def _table(postgres: PostgresFixture) -> AsyncGenerator[None]:
    superuser = await asyncpg.connect(postgres.superuser_url)
    try:
        await superuser.execute(f"CREATE TABLE {TABLE} (id int PRIMARY KEY, count bigint NOT NULL)")
        await superuser.execute(f"INSERT INTO {TABLE} SELECT n, 0 FROM generate_series(0, {ROWS - 1}) n")
        yield
        await superuser.execute(f"DROP TABLE {TABLE}")
    finally:
        await superuser.close()


@contextmanager
def _responder(
    nats: NatsFixture, postgres: PostgresFixture, user: str, subject: str, statement: str
) -> Generator[None]:
    arguments = (nats.url, user, postgres.superuser_url, subject, statement)
    with _process("bare_responder.py", *arguments, password=nats.password(user)):
        yield


@contextmanager
def _process(script: str, *arguments: str, password: str = "") -> Generator[None]:
    command = [sys.executable, str(Path(support.__file__).parent / script), *arguments]
    process = subprocess.Popen(command, env={**os.environ, "HOOKBUS_NATS_PASSWORD": password})
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _responding(nats: NatsFixture, subject: str) -> None:
    client = await nats.connect("gateway")

    async def responds() -> bool:
        try:
            await client.request(subject, b"0", timeout=ANSWER_TIMEOUT_S)
        except (NatsError, TimeoutError):
            return False
        return True

    try:
        await eventually(responds)
    finally:
        await client.close()


async def _answering(port: int) -> str:
    url = f"http://127.0.0.1:{port}"

    async def answers() -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.post(url)).status_code == 202
            except httpx.HTTPError:
                return False

    await eventually(answers)
    return url
