"""The wires of the fault matrix: what is cut holds, what is mended goes on in order, nothing in a stream is lost."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import ExitStack

import pytest
from support.matrix.wires import Link, Wires

from hookbus.embedded.ports import LOOPBACK, free_ports

HELD_S = 0.3
ANSWER_TIMEOUT_S = 20.0
DELAY_S = 0.2


class Echo:
    """A server that answers every line, and the wire to it."""

    def __init__(self, wires: Wires, port: int) -> None:
        self.wires = wires
        self.port = port

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(LOOPBACK, self.port)


@pytest.fixture
async def echo() -> AsyncGenerator[Echo]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"> " + line)
        writer.close()

    near, far = free_ports(2)
    server = await asyncio.start_server(answer, LOOPBACK, far)
    with ExitStack() as held:
        yield Echo(held.enter_context(Wires([Link("client-server", near, lambda: far)])), near)
    server.close()


async def answered(reader: asyncio.StreamReader, wait_s: float) -> bytes | None:
    try:
        return await asyncio.wait_for(reader.readline(), wait_s)
    except TimeoutError:
        return None


@pytest.mark.parametrize(("forth", "back"), [(True, True), (True, False), (False, True)])
async def test_a_cut_wire_holds_and_a_mended_one_delivers_in_order(echo: Echo, forth: bool, back: bool):
    reader, writer = await echo.connect()
    writer.write(b"one\n")
    assert await answered(reader, ANSWER_TIMEOUT_S) == b"> one\n"
    echo.wires.cut("client-server", forth=forth, back=back)
    writer.write(b"two\n")
    writer.write(b"three\n")
    assert await answered(reader, HELD_S) is None
    echo.wires.mend()
    assert [await answered(reader, ANSWER_TIMEOUT_S) for _ in range(2)] == [b"> two\n", b"> three\n"]
    writer.close()


async def test_a_new_connection_needs_both_directions(echo: Echo):
    echo.wires.cut("client-server", forth=False)
    reader, writer = await echo.connect()
    writer.write(b"early\n")
    assert await answered(reader, HELD_S) is None
    echo.wires.mend()
    assert await answered(reader, ANSWER_TIMEOUT_S) == b"> early\n"
    writer.close()


async def test_a_slow_wire_delivers_late(echo: Echo):
    reader, writer = await echo.connect()
    echo.wires.slow("client-server", DELAY_S)
    began_s = asyncio.get_running_loop().time()
    writer.write(b"slow\n")
    assert await answered(reader, ANSWER_TIMEOUT_S) == b"> slow\n"
    assert asyncio.get_running_loop().time() - began_s >= DELAY_S
    writer.close()


async def test_a_connection_to_nobody_is_closed(echo: Echo):
    (port,) = free_ports(1)
    with Wires([Link("client-nobody", port, lambda: None)]), socket.create_connection((LOOPBACK, port)) as connection:
        connection.settimeout(ANSWER_TIMEOUT_S)
        assert await asyncio.to_thread(connection.recv, 1) == b""
