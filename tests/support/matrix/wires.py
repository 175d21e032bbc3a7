"""TCP links that can be cut without being closed: each connection of a service goes through one of its own.

A partition loses packets, not bytes: what was sent while it lasts arrives after it, in order, or never because somebody
gave up. So a cut lane holds what comes and lets it go when it is mended; nothing is thrown away inside a stream, which
no network does. A new connection needs both directions, so it waits for both lanes.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from hookbus.embedded.ports import LOOPBACK

CHUNK_BYTES = 64 * 1024
CHUNKS_HELD_MAX = 64
CALL_TIMEOUT_S = 10.0

Target = Callable[[], int | None]
"""The port a link leads to at this moment; None while nothing listens there."""


@dataclass
class Lane:
    """One direction of a link."""

    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    delay_s: float = 0.0

    async def passed(self, due_s: float) -> None:
        """Return once what was due at ``due_s`` may go on."""
        await asyncio.sleep(max(0.0, due_s - asyncio.get_running_loop().time()))
        await self.flowing.wait()


@dataclass
class Link:
    """Listens on ``port`` and leads to ``target``. Its lanes are changed in the loop of :class:`Wires` alone."""

    name: str
    port: int
    target: Target
    forth: Lane = field(default_factory=Lane)
    back: Lane = field(default_factory=Lane)

    def __post_init__(self) -> None:
        self.mend()

    def mend(self) -> None:
        """Let everything flow at once."""
        for lane in (self.forth, self.back):
            lane.delay_s = 0.0
            lane.flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        await self.forth.flowing.wait()
        await self.back.flowing.wait()
        port = self.target()
        try:
            if port is None:
                raise ConnectionRefusedError
            far_reader, far_writer = await asyncio.open_connection(LOOPBACK, port)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_carry(reader, far_writer, self.forth), _carry(far_reader, writer, self.back))
        finally:
            for end in (writer, far_writer):
                end.transport.abort()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: Lane) -> None:
    """Bytes of one direction, in order, each after the lane's delay, until the end of the stream, which passes too."""
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_HELD_MAX)
    loop = asyncio.get_running_loop()

    async def take() -> None:
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = b""
            await under_way.put((loop.time() + lane.delay_s, data))

    taking = asyncio.create_task(take())
    try:
        while True:
            due_s, data = await under_way.get()
            await lane.passed(due_s)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        taking.cancel()
        with suppress(OSError, RuntimeError):
            writer.close()


class Wires:
    """Every link of one stack, in a thread of its own: a test that blocks its loop does not cut them."""

    def __init__(self, links: Iterable[Link]) -> None:
        self._links = {link.name: link for link in links}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="wires")
        self._servers: list[asyncio.Server] = []

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def names(self, ending: str = "") -> list[str]:
        """Links by name; with ``ending``, those that lead there: ``postgres``."""
        return [name for name in self._links if name.endswith(ending)]

    def cut(self, name: str, *, forth: bool = True, back: bool = True) -> None:
        """Hold what the client sends (``forth``), what it is sent (``back``), or both."""

        def change(link: Link) -> None:
            for lane, held in ((link.forth, forth), (link.back, back)):
                if held:
                    lane.flowing.clear()

        self._change(name, change)

    def slow(self, name: str, delay_s: float) -> None:
        """Let what the client sends arrive ``delay_s`` late."""

        def change(link: Link) -> None:
            link.forth.delay_s = delay_s

        self._change(name, change)

    def mend(self, *names: str) -> None:
        """Let everything flow again; all links where none is named."""
        for name in names or self._links:
            self._change(name, Link.mend)

    def _change(self, name: str, change: Callable[[Link], None]) -> None:
        async def changed() -> None:
            change(self._links[name])

        self._call(changed())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_TIMEOUT_S)

    async def _listen(self) -> None:
        for link in self._links.values():
            self._servers.append(await asyncio.start_server(link.serve, LOOPBACK, link.port))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
