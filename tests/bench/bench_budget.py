"""The budget: reserve and settle over the bus, against a bare responder that commits one UPDATE for each request."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
from nats.aio.client import Client
from support.bare import bare_ledger
from support.measure import Sample, closed_loop, median_of, paced, print_row
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture

from hookbus.platform.database.migrate import upgrade

CLIENTS = (1, 32, 200)
CALLS_PER_CLIENT_MIN = 25
CALLS_MIN = 300
ROUNDS = 3
TIMEOUT_S = 30.0
HISTORY_ROWS = 1_000_000
PACED_RATES_PER_S = (500, 1_000, 2_000)
PACED_S = 3
AMPLE = {"unit": "tokens", "window": "day", "amount": "1000000000"}


@dataclass
class Load:
    """The gateway's side of the bus."""

    client: Client
    budget: Sequence[psutil.Process]

    def processor_s(self) -> float:
        """Processor time of the budget processes so far: says what the work costs, however busy the machine is."""
        return sum(times.user + times.system for times in (process.cpu_times() for process in self.budget))

    async def call(self, method: str, body: Mapping[str, object]) -> dict[str, object]:
        reply = await self.client.request(f"rpc.budget.{method}", json.dumps(body).encode(), timeout=TIMEOUT_S)
        assert not (reply.headers and "Nats-Service-Error" in reply.headers), reply.data
        return json.loads(reply.data)

    async def prepare(self, agents: list[str], project: str | None = None) -> None:
        for agent in agents:
            body: dict[str, object] = {"agent_id": agent, "limits": [AMPLE]}
            await self.call("init", body | ({"project": project} if project else {}))

    async def reserve(self, agent: str) -> str:
        reply = await self.call("check", {"agent_id": agent, "estimated_tokens": 1, "reserve": True})
        assert reply["allowed"]
        return str(reply["reservation"])

    async def settle(self, agent: str, reservation: str) -> None:
        key = uuid.uuid4().hex
        body = {"agent_id": agent, "tokens_used": 1, "reservation": reservation, "idempotency_key": key}
        await self.call("deduct", body)


@asynccontextmanager
async def loaded(
    folder: Path, nats: NatsFixture, postgres: PostgresFixture, processes: int = 1
) -> AsyncGenerator[Load]:
    """Budget processes, and a client that asks them."""
    await asyncio.to_thread(upgrade, "hookbus.budget", postgres.owner_url, "budget")
    services = [ServiceProcess.budget(folder, nats, postgres) for _ in range(processes)]
    for service in services:
        service.start()
    try:
        for service in services:
            await asyncio.to_thread(service.wait_ready)
        client = await nats.connect("gateway")
        try:
            yield Load(client, [psutil.Process(service.pid) for service in services])
        finally:
            await client.close()
    finally:
        for service in services:
            service.stop()


def calls_of(clients: int) -> int:
    return max(CALLS_MIN, clients * CALLS_PER_CLIENT_MIN)


def cells(sample: Sample, base: Sample | None = None) -> tuple[str, ...]:
    ratio = f"{sample.rate_per_s / base.rate_per_s:.2f}" if base else "1.00"
    return f"{sample.rate_per_s:,.0f}/s", f"{sample.p50_ms:.1f} ms", f"{sample.p99_ms:.1f} ms", ratio


async def bench_reserve_and_settle(
    own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path
) -> None:
    """Each row beside the reference at the same number of clients, taken in turns."""
    nats, postgres = own_nats_server, own_postgres_server
    subject = "rpc.budget.bench"
    print_row("budget", "rate", "p50", "p99", "ratio to one UPDATE a request", "the budget's processor time")
    print_row("---", "---", "---", "---", "---", "---")
    async with loaded(tmp_path, nats, postgres) as load, bare_ledger(nats, postgres, subject):
        hot = "bench-hot"
        spread = [f"bench-{number}" for number in range(50)]
        await load.prepare([hot])
        await load.prepare(spread, project="bench")
        for clients in CLIENTS:
            calls = calls_of(clients)
            samples: dict[str, list[Sample]] = {}
            processor_s: dict[str, float] = {}
            for _ in range(ROUNDS):

                async def bare(number: int) -> None:
                    await load.client.request(subject, str(number % 200).encode(), timeout=TIMEOUT_S)

                async def reserve(_number: int) -> None:
                    await load.reserve(hot)

                async def lifecycle(_number: int) -> None:
                    await load.settle(hot, await load.reserve(hot))

                async def lifecycle_spread(number: int) -> None:
                    agent = spread[number % len(spread)]
                    await load.settle(agent, await load.reserve(agent))

                for name, work in (
                    ("reference", bare),
                    ("reserve, one agent", reserve),
                    ("reserve and settle, one agent", lifecycle),
                    ("reserve and settle, 50 agents of one project", lifecycle_spread),
                ):
                    before_s = load.processor_s()
                    samples.setdefault(name, []).append(await closed_loop(clients, calls, work))
                    processor_s[name] = processor_s.get(name, 0.0) + load.processor_s() - before_s
            base = median_of(samples["reference"])
            for name, taken in samples.items():
                each = f"{processor_s[name] / (calls * ROUNDS) * 1e6:.0f} us"
                print_row(f"{name}, {clients} clients", *cells(median_of(taken), base), each)


async def bench_one_process_and_two(
    own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path
) -> None:
    """The same work by one process and by two, whose transactions take turns at the global account."""
    nats, postgres = own_nats_server, own_postgres_server
    clients = max(CLIENTS)
    print_row("processes", "rate", "p50", "p99", "ratio to one")
    base: Sample | None = None
    for processes in (1, 2):
        async with loaded(tmp_path, nats, postgres, processes) as load:
            await load.prepare(["bench-both"])

            async def lifecycle(_number: int, load: Load = load) -> None:
                await load.settle("bench-both", await load.reserve("bench-both"))

            taken = median_of([await closed_loop(clients, calls_of(clients), lifecycle) for _ in range(ROUNDS)])
            print_row(f"{processes}, reserve and settle, {clients} clients", *cells(taken, base))
            base = base or taken


async def bench_reserve_at_a_rate(
    own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path
) -> None:
    """Latency of a reserve while 200 clients ask at a rate below what can be served, beside the reference at it."""
    nats, postgres = own_nats_server, own_postgres_server
    subject, clients = "rpc.budget.bench", max(CLIENTS)
    print_row("reserve, 200 clients", "rate", "p50", "p99", "ratio")
    async with loaded(tmp_path, nats, postgres) as load, bare_ledger(nats, postgres, subject):
        await load.prepare(["bench-paced"])

        async def reserve(_number: int) -> None:
            await load.reserve("bench-paced")

        async def bare(number: int) -> None:
            await load.client.request(subject, str(number % 200).encode(), timeout=TIMEOUT_S)

        for rate_per_s in PACED_RATES_PER_S:
            for name, work in (("reference", bare), ("reserve", reserve)):
                taken = [await paced(clients, rate_per_s * PACED_S, rate_per_s, work) for _ in range(ROUNDS)]
                print_row(f"{name} at {rate_per_s:,}/s", *cells(median_of(taken))[:3])


async def bench_long_history(
    own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path
) -> None:
    """The same reserve before and after a million rows of history of the same agent."""
    nats, postgres = own_nats_server, own_postgres_server
    agent = "bench-old"
    async with loaded(tmp_path, nats, postgres) as load:
        await load.prepare([agent])

        async def reserve(_number: int) -> None:
            await load.reserve(agent)

        async def rounds() -> Sample:
            return median_of([await closed_loop(1, CALLS_MIN, reserve) for _ in range(ROUNDS)])

        await rounds()
        before = await rounds()
        superuser = await asyncpg.connect(postgres.superuser_url)
        try:
            await superuser.execute(
                """
                INSERT INTO budget.budget_history (at, effective_at, operation, agent_id, agent_account, dedupe_key)
                SELECT now() - interval '40 days', now() - interval '40 days', 'charge', $1,
                       (SELECT id FROM budget.accounts WHERE name = $1), 'bench:' || n
                FROM generate_series(1, $2) n
                """,
                agent,
                HISTORY_ROWS,
                timeout=300,
            )
            await superuser.execute("CHECKPOINT")
        finally:
            await superuser.close()
        await rounds()
        after = await rounds()
    print_row("reserve p50, empty history", f"{before.p50_ms:.2f} ms")
    print_row(f"reserve p50, {HISTORY_ROWS:,} rows", f"{after.p50_ms:.2f} ms", f"{after.p50_ms / before.p50_ms:.2f}")
