"""Two processes of each service on three servers of the bus: the invariants, with all well and with servers lost.

Counted from what clients were told, from the rows as a superuser sees them, and from the log's own proof.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import httpx
import pytest
from support.compose import ComposeStack, docker, is_healthy
from support.events import unique
from support.load import Sender, usage_events
from support.waiting import eventually

EVENTS_EACH = 40
"""In one piece of the load; pieces follow each other until the fault is over."""
CLIENTS = 4
FLOWING_EVENTS = 3 * EVENTS_EACH
"""So many are accepted while a server is away."""
FLOW_TIMEOUT_S = 180.0
SETTLED_TIMEOUT_S = 120.0
HEALTHY_TIMEOUT_S = 180.0
LIMIT_TOKENS = 500
RESERVED_TOKENS = 7
ASKED = 120
SEED = int(os.environ.get("HOOKBUS_FAULT_SEED", "20261128"))
STREAMS = """
import asyncio, os
from pathlib import Path
from hookbus.platform.bus.connection import connect_plain
async def main():
    password = Path("/secrets/jobs/nats_provision").read_text()
    client = await connect_plain(os.environ["HOOKBUS_NATS_URL"], "provision", password, Path("/secrets/jobs/ca.pem"))
    for info in await client.jetstream().streams_info():
        peers = [peer for peer in info.cluster.replicas or [] if peer.current]
        print(info.config.name, info.cluster.leader, info.config.num_replicas, len(peers) + 1)
    await client.close()
asyncio.run(main())
"""
KILL_ALL = "import os, signal; os.kill(-1, signal.SIGKILL)"
"""Everything in the container but the engine's init and the killer itself."""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_800)]


class Books:
    """What two crowds of clients, one at each gateway, were told."""

    def __init__(self, stack: ComposeStack, agents: list[str], randomness: random.Random) -> None:
        self.stack = stack
        self.agents = agents
        self.randomness = randomness
        self.senders = [Sender(url, stack.headers, CLIENTS) for url in stack.urls]

    @property
    def accepted(self) -> dict[str, dict[str, Any]]:
        """Every event answered 202."""
        return {key: event for sender in self.senders for key, event in sender.told.accepted.items()}

    async def send_piece(self) -> None:
        pieces = [usage_events(EVENTS_EACH // 2, self.agents, self.randomness) for _ in self.senders]
        await asyncio.gather(*(sender.send(piece) for sender, piece in zip(self.senders, pieces, strict=True)))

    async def flows(self) -> None:
        """So many more events are accepted: whatever is broken now does not stop them."""
        until = len(self.accepted) + FLOWING_EVENTS
        await eventually(lambda: len(self.accepted) >= until, FLOW_TIMEOUT_S)

    async def add_up(self) -> None:
        """I1, I3, I4: each accepted event is in the log once and charged once, nothing else is, the log verifies."""
        accepted = self.accepted
        expected = sum((sender.told.tokens_by_agent() for sender in self.senders), Counter[str]())

        async def settled() -> bool:
            return audited(self.stack, accepted) == len(accepted) and await self.spent() == expected

        try:
            await eventually(settled, SETTLED_TIMEOUT_S)
        except TimeoutError:
            assert audited(self.stack, accepted) == len(accepted)
            assert await self.spent() == expected
        assert self.stack.sql("select event_id from audit.stored_events group by 1 having count(*) > 1") == []
        async with httpx.AsyncClient(headers=self.stack.headers, timeout=60) as client:
            verified = (await client.get(f"{self.stack.url}/api/v1/audit/verify")).json()
        assert verified["ok"], verified

    async def spent(self) -> Counter[str]:
        """By agent, as the budget service says."""
        found: Counter[str] = Counter()
        async with httpx.AsyncClient(headers=self.stack.headers, timeout=30) as client:
            for agent in self.agents:
                response = await client.get(f"{self.stack.url}/api/v1/budget/status/{agent}")
                if response.status_code == 200:
                    balances = response.json()["remaining"]
                    found[agent] = int(next(one["spent"] for one in balances if one["unit"] == "tokens"))
        return found


def streams(cluster: ComposeStack) -> dict[str, list[str]]:
    """Name -> leader, copies wanted, copies that are current, as the servers say."""
    run = ("run", "--rm", "--no-deps", "--entrypoint", "python", "provision", "-P", "-c", STREAMS)
    rows = [line.split() for line in cluster.compose(*run).splitlines()]
    return {row[0]: row[1:] for row in rows}


def leader_of_hooks(cluster: ComposeStack) -> str:
    """The server that leads the stream of events."""
    return streams(cluster)["HOOKS"][0]


async def at_engine(*arguments: str, check: bool = True) -> None:
    """A docker command, while the load goes on."""
    await asyncio.to_thread(docker, *arguments, check=check)


def audited(stack: ComposeStack, events: dict[str, Any]) -> int:
    """How many of these events lie in the audit log, each as often as it does."""
    rows = stack.sql("select event_id from audit.stored_events")
    return sum(1 for row in rows if row[0] in events)


@asynccontextmanager
async def load(stack: ComposeStack) -> AsyncGenerator[Books]:
    """Events from clients of both gateways within the block; afterwards the books must add up."""
    print(f"seed {SEED}")  # noqa: T201 - a failing run is repeated with it
    agents = [unique("agent") for _ in range(4)]
    books = Books(stack, agents, random.Random(SEED))
    async with httpx.AsyncClient(headers=stack.headers, timeout=30) as client:
        for agent in agents:
            limit = {"limits": [{"unit": "tokens", "window": "total", "amount": "1000000"}]}
            response = await client.post(f"{stack.url}/api/v1/budget/init/{agent}", json=limit)
            assert response.status_code == 201, response.text
    ended = asyncio.Event()

    async def send() -> None:
        while not ended.is_set():
            await books.send_piece()

    sending = asyncio.create_task(send())
    try:
        yield books
    finally:
        ended.set()
        await sending
    failures = sum((sender.told.failures for sender in books.senders), Counter[str]())
    print(f"accepted {len(books.accepted)}, refused for a while {dict(failures)}")  # noqa: T201 - the figures
    await books.add_up()


def test_every_stream_is_kept_three_times(cluster: ComposeStack) -> None:
    """Streams and buckets, as the leader sees its followers: all of them there and current."""
    found = streams(cluster)
    assert set(found) >= {"HOOKS", "SECURITY", "DEADLETTER"}
    assert len(found) >= 6
    assert {tuple(row[1:]) for row in found.values()} == {("3", "3")}


async def test_two_of_each_count_as_one(cluster: ComposeStack) -> None:
    """I2 and I3 with two budget processes behind two gateways: a limit is never exceeded by reservations from both, and
    an event that is sent again through the other gateway changes nothing."""
    agent = unique("agent")
    limit = {"limits": [{"unit": "tokens", "window": "total", "amount": str(LIMIT_TOKENS)}]}
    async with httpx.AsyncClient(headers=cluster.headers, timeout=60) as client:
        await client.post(f"{cluster.url}/api/v1/budget/init/{agent}", json=limit)
        body = {"agent_id": agent, "estimated_tokens": RESERVED_TOKENS, "estimated_cost": "0", "reserve": True}
        slots = asyncio.Semaphore(16)

        async def ask(url: str) -> bool:
            async with slots:
                response = await client.post(f"{url}/api/v1/budget/check", json=body)
            return response.status_code == 200 and bool(response.json()["allowed"])

        told = await asyncio.gather(*(ask(cluster.urls[number % 2]) for number in range(ASKED)))
        held = (await client.get(f"{cluster.url}/api/v1/budget/status/{agent}")).json()["remaining"][0]
    assert sum(told) * RESERVED_TOKENS <= LIMIT_TOKENS
    assert sum(told) > 0
    assert int(held["held"]) + int(held["spent"]) <= LIMIT_TOKENS
    assert int(held["held"]) >= sum(told) * RESERVED_TOKENS

    async with load(cluster) as books:
        await books.flows()
    first, second = books.senders
    await first.send(list(second.told.accepted.values()))
    # What was sent twice is told twice; it counts once.
    first.told.accepted = {key: one for key, one in first.told.accepted.items() if key not in second.told.accepted}
    await books.add_up()


@pytest.mark.parametrize("victim", ["leader", "follower"])
async def test_with_a_server_of_the_bus_killed_events_keep_flowing(cluster: ComposeStack, victim: str) -> None:
    """The leader of the stream of events, or another, is killed and comes back later."""
    leader = leader_of_hooks(cluster)
    server = leader if victim == "leader" else next(one for one in ("nats", "nats-2", "nats-3") if one != leader)
    container = cluster.containers(server)[0]
    async with load(cluster) as books:
        await books.flows()
        await at_engine("kill", container)
        await books.flows()
        await at_engine("start", container)
        await eventually(partial(is_healthy, container), HEALTHY_TIMEOUT_S)
        await books.flows()


async def test_with_a_server_of_the_bus_cut_off_events_keep_flowing(cluster: ComposeStack) -> None:
    """The leader's network is pulled: it runs on, without peers and clients, and is put back later."""
    server = leader_of_hooks(cluster)
    container = cluster.containers(server)[0]
    network = f"{cluster.project}_bus"
    async with load(cluster) as books:
        await books.flows()
        await at_engine("network", "disconnect", network, container)
        await books.flows()
        await at_engine("network", "connect", "--alias", server, network, container)
        await eventually(partial(is_healthy, container), HEALTHY_TIMEOUT_S)
        await books.flows()


async def test_with_one_process_of_each_service_killed_events_keep_flowing(cluster: ComposeStack) -> None:
    """SIGKILL inside the container, as a crash: the engine starts it again, the other one works on."""
    async with load(cluster) as books:
        for service in ("budget", "session", "audit", "gateway"):
            container = cluster.containers(service)[0]
            await books.flows()
            await at_engine("exec", container, "python", "-P", "-c", KILL_ALL, check=False)
            await books.flows()
            await eventually(partial(is_healthy, container), HEALTHY_TIMEOUT_S)
