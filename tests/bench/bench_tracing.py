"""What tracing costs on ingest and on decide: processor time, which says the same on a busy machine, and the rate."""

import json
import statistics
from collections.abc import Generator
from contextlib import ExitStack, contextmanager

import aiohttp
import httpx
from support.deciding import ask, pre_task, processor_s
from support.events import unique
from support.fixtures import server_folder
from support.measure import Sample, closed_loop, median_of, print_row
from support.stack import StackFixture

CLIENTS = 8
CALLS = 400
ROUNDS = 3
MODES: dict[str, dict[str, str]] = {
    "off": {"HOOKBUS_TRACE_SAMPLE_RATIO": "0", "HOOKBUS_TRACE_KEEP_OBJECTIONS": "false"},
    "0, objections kept": {"HOOKBUS_TRACE_SAMPLE_RATIO": "0"},
    "0.1, objections kept": {"HOOKBUS_TRACE_SAMPLE_RATIO": "0.1"},
    "0.1 alone": {"HOOKBUS_TRACE_SAMPLE_RATIO": "0.1", "HOOKBUS_TRACE_KEEP_OBJECTIONS": "false"},
    "1": {"HOOKBUS_TRACE_SAMPLE_RATIO": "1"},
}


@contextmanager
def stacks() -> Generator[dict[str, StackFixture]]:
    """One stack for each way of tracing, all up at once, so that they can be asked in turns."""
    with ExitStack() as running:
        started: dict[str, StackFixture] = {}
        for name, settings in MODES.items():
            folder = running.enter_context(server_folder())
            started[name] = StackFixture.launch(folder / "stack", **settings)
            running.callback(started[name].stop)
        yield started


async def decide(stack: StackFixture) -> Sample:
    """Decisions by agents of their own."""
    agents = [unique("trace") for _ in range(CLIENTS)]
    limit = {"limits": [{"unit": "tokens", "window": "total", "amount": 10**9}]}
    async with httpx.AsyncClient(base_url=stack.url, headers=stack.headers, timeout=60) as admin:
        for agent in agents:
            (await admin.post(f"/api/v1/budget/init/{agent}", json=limit)).raise_for_status()
    bodies = [pre_task(agents[number % CLIENTS]) for number in range(CALLS)]
    return await ask(f"{stack.url}/api/v1/decide", stack.headers, CLIENTS, bodies)


async def ingest(stack: StackFixture) -> Sample:
    """Single events."""
    sent = {**stack.headers, "content-type": "application/json"}
    agent = unique("trace")
    async with aiohttp.ClientSession(headers=sent) as session:

        async def call(_number: int) -> None:
            event = {"kind": "notification", "id": unique("bench"), "agent_id": agent, "data": {"note": "x" * 300}}
            async with session.post(f"{stack.url}/api/v1/events", data=json.dumps(event)) as response:
                assert response.status == 202, await response.text()

        return await closed_loop(CLIENTS, CALLS, call)


async def bench_tracing() -> None:
    """Every way of tracing in turns; the processor time is that of hookbus's own processes but the trace store."""
    with stacks() as running:
        for title, work in (("ingest", ingest), ("decide", decide)):
            for stack in running.values():
                await work(stack)
            samples: dict[str, list[Sample]] = {name: [] for name in running}
            spent: dict[str, list[float]] = {name: [] for name in running}
            store: dict[str, list[float]] = {name: [] for name in running}
            for _ in range(ROUNDS):
                for name, stack in running.items():
                    before = processor_s(stack)
                    samples[name].append(await work(stack))
                    after = processor_s(stack)
                    used = {process: (after[process] - before[process]) / CALLS * 1_000 for process in after}
                    spent[name].append(sum(used[process] for process in ("gateway", "session", "budget", "audit")))
                    store[name].append(used["traces"])
            base = statistics.median(spent["off"])
            for name in running:
                own, sample = statistics.median(spent[name]), median_of(samples[name])
                print_row(
                    f"{title}, sampling {name}",
                    f"{own:.2f} ms",
                    f"{own / base:.2f}",
                    f"{statistics.median(store[name]):.2f} ms",
                    f"{sample.rate_per_s:,.0f}/s",
                )
