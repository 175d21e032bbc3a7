"""Ingest: single events and batches over HTTP, and how fast they are drained end to end."""

import asyncio
import json
import time

import aiohttp
import httpx
import psutil
from support.bare import bare_server
from support.events import unique
from support.measure import Sample, closed_loop, median_of, print_row
from support.stack import StackFixture
from support.waiting import eventually

CONNECTIONS = 32
CALLS = 4_000
BATCH_EVENTS = 500
BATCHES = 40
DRAIN_EVENTS = 20_000
ROUNDS = 3
PADDING = "x" * 300


def event() -> dict[str, object]:
    """A usage event of about 600 bytes on the wire."""
    return {
        "kind": "usage",
        "id": unique("bench"),
        "agent_id": "bench",
        "session": "bench",
        "data": {"tokens_used": 1, "cost": "0.000001", "note": PADDING},
    }


async def post_many(url: str, headers: dict[str, str], connections: int, bodies: list[bytes]) -> Sample:
    """All bodies, from so many connections; every answer must be 202.

    The client shares the machine's cores with what it measures, so it is the leanest at hand.
    """
    connector = aiohttp.TCPConnector(limit=connections)
    sent = {**headers, "content-type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=sent) as client:

        async def call(number: int) -> None:
            async with client.post(url, data=bodies[number]) as response:
                assert response.status == 202, await response.text()
                await response.read()

        return await closed_loop(connections, len(bodies), call)


async def bench_single_events_against_a_bare_server(stack: StackFixture) -> None:
    """Single-event ingest at 32 connections, in turns with a server that answers 202 without work."""
    hookbus: list[Sample] = []
    bare: list[Sample] = []
    async with bare_server() as bare_url:
        for _ in range(ROUNDS):
            bodies = [json.dumps(event()).encode() for _ in range(CALLS)]
            bare.append(await post_many(bare_url, {}, CONNECTIONS, bodies))
            hookbus.append(await post_many(f"{stack.url}/api/v1/events", stack.headers, CONNECTIONS, bodies))
    ours, reference = median_of(hookbus), median_of(bare)
    print_row(
        "bare server, 202 without work",
        f"{reference.rate_per_s:.0f}/s",
        f"{reference.p50_ms:.1f} ms",
        f"{reference.p99_ms:.1f} ms",
        "1.00",
    )
    print_row(
        "single events, fsynced",
        f"{ours.rate_per_s:.0f}/s",
        f"{ours.p50_ms:.1f} ms",
        f"{ours.p99_ms:.1f} ms",
        f"{ours.rate_per_s / reference.rate_per_s:.2f}",
    )


async def bench_batches(stack: StackFixture) -> None:
    """Batches of 500 events from 4 connections."""
    rates: list[Sample] = []
    for _ in range(ROUNDS):
        bodies = [json.dumps([event() for _ in range(BATCH_EVENTS)]).encode() for _ in range(BATCHES)]
        rates.append(await post_many(f"{stack.url}/api/v1/events", stack.headers, 4, bodies))
    sample = median_of(rates)
    print_row(
        "batches of 500, fsynced",
        f"{sample.rate_per_s * BATCH_EVENTS:.0f} events/s",
        f"{sample.p50_ms:.1f} ms",
        f"{sample.p99_ms:.1f} ms",
        "-",
    )


async def bench_drain_end_to_end(stack: StackFixture) -> None:
    """From the first post to the last event charged, in the session and in the audit log."""
    bodies = [json.dumps([event() for _ in range(BATCH_EVENTS)]).encode() for _ in range(DRAIN_EVENTS // BATCH_EVENTS)]
    async with httpx.AsyncClient(headers=stack.headers, base_url=stack.url) as client:

        async def size() -> int:
            note = (await client.get("/api/v1/audit/checkpoint")).text
            return int(note.splitlines()[1])

        await asyncio.sleep(3)
        before = await size()
        begin_s = time.perf_counter()
        posted = asyncio.create_task(post_many(f"{stack.url}/api/v1/events", stack.headers, 4, bodies))

        async def logged() -> bool:
            return await size() >= before + DRAIN_EVENTS

        await eventually(logged, 300)
        elapsed_s = time.perf_counter() - begin_s
        await posted
    print_row(
        "drained end to end (audit log and checkpoint)", f"{DRAIN_EVENTS / elapsed_s:.0f} events/s", "-", "-", "-"
    )


async def bench_idle_memory(own_stack: StackFixture) -> None:
    """Resident memory of each process of a stack that has done nothing yet."""
    for name, pid in own_stack.pids().items():
        process = psutil.Process(pid)
        with process.oneshot():
            print_row(f"memory of {name}", f"{process.memory_info().rss / 1024**2:.0f} MiB", "-", "-", "-")
