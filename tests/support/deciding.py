"""Decisions as benches ask for them, and what each process spends on them."""

import json
from contextlib import suppress

import aiohttp
import psutil

from support.events import unique
from support.measure import Sample, closed_loop, paced
from support.stack import StackFixture

ANSWERED = frozenset({200, 202})


def pre_task(agent: str) -> bytes:
    """A shell command as a hook asks about it."""
    data = {
        "tool": "Bash",
        "tool_input": {"command": "pytest -q tests/unit"},
        "cwd": "/tmp",
        "operation_id": unique("op"),
        "estimated_tokens": 1,
    }
    body = {"kind": "pre-task", "id": unique("bench"), "agent_id": agent, "session": f"{agent}-s", "data": data}
    return json.dumps(body).encode()


async def ask(
    url: str, headers: dict[str, str], clients: int, bodies: list[bytes], *, rate_per_s: float | None = None
) -> Sample:
    """All bodies, from so many clients on connections that stay open: each as soon as its client has the answer to the
    one before, or ``rate_per_s`` in all."""
    sent = {**headers, "content-type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=clients), headers=sent) as session:

        async def call(number: int) -> None:
            async with session.post(url, data=bodies[number]) as response:
                assert response.status in ANSWERED, await response.text()
                await response.read()

        if rate_per_s is None:
            return await closed_loop(clients, len(bodies), call)
        return await paced(clients, len(bodies), rate_per_s, call)


def processor_s(stack: StackFixture) -> dict[str, float]:
    """Processor seconds of each process so far, its children included."""
    spent: dict[str, float] = {}
    for name, pid in stack.pids().items():
        whole = psutil.Process(pid)
        for process in (whole, *whole.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent[name] = spent.get(name, 0.0) + times.user + times.system
    return spent
