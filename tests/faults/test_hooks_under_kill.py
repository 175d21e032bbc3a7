"""Hooks of eight processes while the gateway is killed again and again: nothing lost, nothing twice, in order."""

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import pytest
from nats.js import JetStreamContext
from support.bus import bus_settings_of
from support.commands import HOOKBUS
from support.faults import sized
from support.stack import StackFixture
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.platform.bus.connection import connect_plain

HOOKS = sized(240, 1_000)
HOOKS_MAX = 20 * HOOKS
WORKERS = 8
KILLS = sized(2, 5)
EXTRA_HOOK_WAIT_S = 0.2
HOOK_TIMEOUT_S = 30
REACHED_WAIT_S = 60.0
DRAIN_WAIT_S = 60.0
TEST_TIMEOUT_S = 300

pytestmark = [pytest.mark.faults, pytest.mark.timeout(TEST_TIMEOUT_S)]


def hooks_of(stack: StackFixture, worker: int, killed: threading.Event) -> tuple[int, list[str]]:
    """One agent's session, a process for each hook, one after the other: how many there were, and what went wrong.

    On past its share until the last kill has been met, so that a fast machine meets every one.
    """
    faults: list[str] = []
    for number in range(HOOKS_MAX // WORKERS):
        if number >= HOOKS // WORKERS and killed.wait(EXTRA_HOOK_WAIT_S):
            return number, faults
        payload = {"agent_id": f"worker-{worker}", "session_id": f"session-{worker}", "number": number}
        done = subprocess.run(
            [HOOKBUS, "hook", "generic", "notification"],
            input=json.dumps(payload).encode(),
            env=stack.environment,
            capture_output=True,
            timeout=HOOK_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            faults.append(f"{number}: {done.returncode} {done.stderr.decode()}")
    return HOOKS_MAX // WORKERS, [*faults, "the kills did not end"]


async def kill_gateway(stack: StackFixture) -> None:
    """SIGKILL, each time after hooks reached the gateway again: while their breaker is open they do not ask it."""
    for _ in range(KILLS):
        before = await stored(stack)
        await eventually(lambda before=before: has_grown(stack, before), REACHED_WAIT_S)
        stack.kill("gateway")
        assert await asyncio.to_thread(stack.wait_ready)
    before = await stored(stack)
    await eventually(lambda: has_grown(stack, before), REACHED_WAIT_S)


@asynccontextmanager
async def jetstream(stack: StackFixture) -> AsyncGenerator[JetStreamContext]:
    """The bus, seen with the rights of the job that provisions it."""
    settings = bus_settings_of(stack, "provision")
    client = await connect_plain(settings.nats_url, settings.nats_user, settings.nats_password.get_secret_value())
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def stored(stack: StackFixture) -> int:
    """How many events the bus has ever stored."""
    async with jetstream(stack) as stream:
        return (await stream.stream_info(subjects.STREAM_HOOKS)).state.last_seq


async def has_grown(stack: StackFixture, before: int) -> bool:
    """Whether the bus has stored more than that."""
    return await stored(stack) > before


async def audited(stack: StackFixture) -> bool:
    """Whether the audit service has taken everything the bus has."""
    async with jetstream(stack) as stream:
        info = await stream.consumer_info(subjects.STREAM_HOOKS, "audit")
        return not info.num_pending and not info.num_ack_pending


async def logged(stack: StackFixture, worker: int) -> list[int]:
    """The numbers of one session in the order of the audit log."""
    numbers: list[int] = []
    query: dict[str, str] = {"agent": f"worker-{worker}", "limit": "1000"}
    async with httpx.AsyncClient(headers=stack.headers, base_url=stack.url, timeout=30) as client:
        while True:
            response = await client.get("/api/v1/audit/entries", params=query)
            assert response.status_code == 200, response.text
            page = response.json()
            numbers += [entry["event"]["data"]["number"] for entry in page["entries"]]
            if not page.get("next_cursor"):
                return numbers
            query["cursor"] = page["next_cursor"]


async def test_hooks_lose_and_repeat_nothing_while_the_gateway_dies(own_stack: StackFixture) -> None:
    """1,000 hooks from 8 processes, the gateway killed 5 times: each event is in the log once, in its session's
    order."""
    stack = own_stack
    began_s = time.monotonic()
    killed = threading.Event()
    # Threads of their own: the loop's few would all be taken, and the killing would wait for them.
    with ThreadPoolExecutor(WORKERS) as threads:
        hooks = [threads.submit(hooks_of, stack, worker, killed) for worker in range(WORKERS)]
        try:
            await kill_gateway(stack)
        finally:
            killed.set()
    ran = [each.result() for each in hooks]
    assert [fault for _, found in ran for fault in found] == []
    hooks_s = time.monotonic() - began_s
    flushed = await asyncio.to_thread(
        subprocess.run, [HOOKBUS, "spool", "flush", "--json"], env=stack.environment, capture_output=True, check=False
    )
    assert flushed.returncode == 0, flushed.stderr
    await eventually(lambda: audited(stack), DRAIN_WAIT_S)
    found = [await logged(stack, worker) for worker in range(WORKERS)]
    missing = {worker: sorted(set(range(ran[worker][0])) - set(numbers)) for worker, numbers in enumerate(found)}
    assert not any(missing.values()), (missing, flushed.stdout)
    assert found == [list(range(count)) for count, _ in ran]
    count = sum(count for count, _ in ran)
    print(f"{count} hooks and {KILLS} kills in {hooks_s:.0f} s; flushed at the end: {flushed.stdout.decode().strip()}")  # noqa: T201 - what a reader of the run wants to know
