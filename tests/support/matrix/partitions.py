"""Faults of the network: a link that loses everything, or one direction only, and one that is slow."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from support.matrix.row import Fault, Scene

WHOLE_WITHIN_S = 30.0
"""Both ends may have to find out that a connection is dead, and reconnect."""
SERVES_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 5.0
POLL_S = 0.1
SLOW_WHOLE_WITHIN_S = 60.0
"""What piled up is taken first."""


def cut(link: str, *, forth: bool = True, back: bool = True, lasts_s: float) -> Fault:
    """Nothing passes in the named directions; connections stay open and new ones hang, as in a real partition."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        scene.stand.wires.cut(link, forth=forth, back=back)
        try:
            yield
        finally:
            scene.stand.wires.mend(link)

    client, server = link.split("-")
    if forth and back:
        name = f"{client} and {server} cut apart for {lasts_s:.0f} s"
    else:
        source, target = (client, server) if forth else (server, client)
        name = f"{source} to {target} cut for {lasts_s:.0f} s"
    return Fault(name, inflict, lasts_s, WHOLE_WITHIN_S)


def slow(server: str, delay_s: float, lasts_s: float) -> Fault:
    """Whatever is sent to a server arrives late, from every service."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        wires = scene.stand.wires
        for link in wires.names(f"-{server}"):
            wires.slow(link, delay_s)
        try:
            yield
        finally:
            wires.mend(*wires.names(f"-{server}"))

    return Fault(f"{server} {delay_s:.0f} s slow for {lasts_s:.0f} s", inflict, lasts_s, SLOW_WHOLE_WITHIN_S)


def gateway_started_alone() -> Fault:
    """The gateway dies and starts while NATS is away: it must answer all the same, that it cannot."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        scene.stand.wires.cut("gateway-nats")
        try:
            scene.stand.stack.kill("gateway")
            scene.notes["answers alone"] = await answers_alone(scene)
            yield
        finally:
            scene.stand.wires.mend("gateway-nats")

    return Fault("gateway started while nats is away", inflict, whole_within_s=WHOLE_WITHIN_S)


async def answers_alone(scene: Scene) -> str:
    """What ``/livez``, ``/readyz`` and an event are answered by a gateway that never reached the bus.

    Raises:
        TimeoutError: it does not serve.
    """
    async with (
        asyncio.timeout(SERVES_TIMEOUT_S),
        httpx.AsyncClient(base_url=scene.stand.url, timeout=REQUEST_TIMEOUT_S) as client,
    ):
        while True:
            try:
                live = await client.get("/livez")
                break
            except httpx.HTTPError:
                await asyncio.sleep(POLL_S)
        ready = await client.get("/readyz")
        event: dict[str, object] = {"kind": "notification", "agent_id": "early", "data": {}}
        stored = await client.post("/api/v1/events", json=event, headers=scene.stand.headers)
    assert (live.status_code, ready.status_code, stored.status_code) == (200, 503, 503), (ready.text, stored.text)
    assert "retry-after" in stored.headers
    return "livez 200, readyz 503, events 503"
