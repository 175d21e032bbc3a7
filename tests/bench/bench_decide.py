"""Decisions over HTTP on keep-alive connections, at a pace, and as fast as answers come.

Against two references: a server without work, and a chain of bare processes along which a request goes as a decision
does, with nothing done on the way. What is below the chain's latency no work on hookbus's own code can reach.

A client that asks again at once asks far faster than an agent would. A burst is weighed against five minutes of a
session's own past, which no session here has, so nothing is assessed or stored that ordinary work would not cause.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
from support.bare import bare_chain, bare_server
from support.deciding import ask, pre_task, processor_s
from support.events import unique
from support.measure import Sample, median_of, print_row
from support.servers import NatsFixture, PostgresFixture
from support.stack import StackFixture

CLIENTS = (1, 8, 32)
COUNTED_CLIENTS = 8
CALLS = 600
RATES_PER_S = (8, 40, 80, 160)
"""Of all clients together. An agent decides about once in some seconds: the least is eight that decide every second."""
PACED_S = 15
ROUNDS = 3


async def bench_processor_time_of_a_decision(stack: StackFixture) -> None:
    """What one decision costs each process: unlike its latency, it says the same on a busy machine."""
    agents = [unique("decide") for _ in range(COUNTED_CLIENTS)]
    bodies = [pre_task(agents[number % COUNTED_CLIENTS]) for number in range(CALLS)]
    await ask(f"{stack.url}/api/v1/decide", stack.headers, COUNTED_CLIENTS, bodies[:COUNTED_CLIENTS])
    before = processor_s(stack)
    await ask(f"{stack.url}/api/v1/decide", stack.headers, COUNTED_CLIENTS, bodies[COUNTED_CLIENTS:])
    count = len(bodies) - COUNTED_CLIENTS
    spent = {name: (after - before.get(name, 0.0)) / count * 1_000 for name, after in processor_s(stack).items()}
    for name, milliseconds in sorted(spent.items(), key=lambda item: -item[1]):
        print_row(f"processor time of a decision, {name}", "-", f"{milliseconds:.2f} ms", "-", "-")
    print_row("processor time of a decision, all", "-", f"{sum(spent.values()):.2f} ms", "-", "-")


async def bench_decisions_over_keep_alive(
    stack: StackFixture, own_nats_server: NatsFixture, own_postgres_server: PostgresFixture
) -> None:
    """Decide from 1, 8 and 32 clients, in turns with both references; each client is an agent with a budget."""
    limit = {"limits": [{"unit": "tokens", "window": "total", "amount": 10**9}]}
    async with (
        references(own_nats_server, own_postgres_server) as bare,
        httpx.AsyncClient(base_url=stack.url, headers=stack.headers) as admin,
    ):
        for clients in CLIENTS:
            agents = [unique("decide") for _ in range(clients)]
            for agent in agents:
                (await admin.post(f"/api/v1/budget/init/{agent}", json=limit)).raise_for_status()
            samples: dict[str, list[Sample]] = {}
            for _ in range(ROUNDS):
                bodies = [pre_task(agents[number % clients]) for number in range(CALLS)]
                for name, (url, headers) in targets(bare, stack).items():
                    samples.setdefault(name, []).append(await ask(url, headers, clients, bodies))
            print_rows(f"{clients} clients", {name: median_of(rounds) for name, rounds in samples.items()})


async def bench_decisions_at_a_pace(
    stack: StackFixture, own_nats_server: NatsFixture, own_postgres_server: PostgresFixture
) -> None:
    """What a decision takes where clients ask at a pace of their own, in turns with both references."""
    agents = [unique("decide") for _ in range(COUNTED_CLIENTS)]
    async with references(own_nats_server, own_postgres_server) as bare:
        for rate_per_s in RATES_PER_S:
            bodies = [pre_task(agents[number % COUNTED_CLIENTS]) for number in range(rate_per_s * PACED_S)]
            samples = {
                name: await ask(url, headers, COUNTED_CLIENTS, bodies, rate_per_s=rate_per_s)
                for name, (url, headers) in targets(bare, stack).items()
            }
            print_rows(f"{COUNTED_CLIENTS} clients, {rate_per_s}/s in all", samples)


@asynccontextmanager
async def references(nats: NatsFixture, postgres: PostgresFixture) -> AsyncGenerator[dict[str, str]]:
    """The addresses of the references by name."""
    async with bare_server() as server, bare_chain(nats, postgres) as chain:
        yield {"bare server": server, "bare chain": chain}


def targets(bare: dict[str, str], stack: StackFixture) -> dict[str, tuple[str, dict[str, str]]]:
    """Where each is asked, and with which headers."""
    asked: dict[str, tuple[str, dict[str, str]]] = {name: (url, {}) for name, url in bare.items()}
    return asked | {"decide": (f"{stack.url}/api/v1/decide", stack.headers)}


def print_rows(title: str, samples: dict[str, Sample]) -> None:
    """A row for each sample: rate, p50, p99, and how often its p50 holds that of each reference."""
    server, chain = samples["bare server"].p50_ms, samples["bare chain"].p50_ms
    for name, sample in samples.items():
        print_row(
            f"{name}, {title}",
            f"{sample.rate_per_s:.0f}/s",
            f"{sample.p50_ms:.1f} ms",
            f"{sample.p99_ms:.1f} ms",
            f"{sample.p50_ms / server:.1f}",
            f"{sample.p50_ms / chain:.1f}",
        )
