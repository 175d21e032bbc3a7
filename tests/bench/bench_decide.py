"""Decisions over HTTP on keep-alive connections, against a server without work: at a pace, and as fast as answers come.

A client that asks again at once asks far faster than an agent would. A burst is weighed against five minutes of a
session's own past, which no session here has, so nothing is assessed or stored that ordinary work would not cause.
"""

import httpx
from support.bare import bare_server
from support.deciding import ask, pre_task, processor_s
from support.events import unique
from support.measure import Sample, median_of, print_row
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


async def bench_decisions_over_keep_alive(stack: StackFixture) -> None:
    """Decide from 1, 8 and 32 clients, in turns with the bare server; each client is an agent with a budget."""
    limit = {"limits": [{"unit": "tokens", "window": "total", "amount": 10**9}]}
    async with bare_server() as bare_url, httpx.AsyncClient(base_url=stack.url, headers=stack.headers) as admin:
        for clients in CLIENTS:
            agents = [unique("decide") for _ in range(clients)]
            for agent in agents:
                (await admin.post(f"/api/v1/budget/init/{agent}", json=limit)).raise_for_status()
            ours: list[Sample] = []
            bare: list[Sample] = []
            for _ in range(ROUNDS):
                bodies = [pre_task(agents[number % clients]) for number in range(CALLS)]
                bare.append(await ask(bare_url, {}, clients, bodies))
                ours.append(await ask(f"{stack.url}/api/v1/decide", stack.headers, clients, bodies))
            reference, decided = median_of(bare), median_of(ours)
            for name, sample in (("bare server", reference), ("decide", decided)):
                print_row(
                    f"{name}, {clients} clients",
                    f"{sample.rate_per_s:.0f}/s",
                    f"{sample.p50_ms:.1f} ms",
                    f"{sample.p99_ms:.1f} ms",
                    f"{sample.p50_ms / reference.p50_ms:.1f}",
                )


async def bench_decisions_at_a_pace(stack: StackFixture) -> None:
    """What a decision takes where clients ask at a pace of their own, in turns with the bare server."""
    agents = [unique("decide") for _ in range(COUNTED_CLIENTS)]
    async with bare_server() as bare_url:
        for rate_per_s in RATES_PER_S:
            bodies = [pre_task(agents[number % COUNTED_CLIENTS]) for number in range(rate_per_s * PACED_S)]
            bare = await ask(bare_url, {}, COUNTED_CLIENTS, bodies, rate_per_s=rate_per_s)
            ours = await ask(
                f"{stack.url}/api/v1/decide", stack.headers, COUNTED_CLIENTS, bodies, rate_per_s=rate_per_s
            )
            for name, sample in (("bare server", bare), ("decide", ours)):
                print_row(
                    f"{name}, {COUNTED_CLIENTS} clients, {rate_per_s}/s in all",
                    f"{sample.rate_per_s:.0f}/s",
                    f"{sample.p50_ms:.1f} ms",
                    f"{sample.p99_ms:.1f} ms",
                    f"{sample.p50_ms / bare.p50_ms:.1f}",
                )
