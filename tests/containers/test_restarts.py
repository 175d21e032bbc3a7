"""Rolling restarts under load, with two processes of each service: no agent is left without its decision."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import httpx
import pytest
from support.compose import ComposeStack, docker, is_healthy
from support.events import unique
from support.waiting import eventually

CLIENTS = 4
PAUSE_S = 0.25
"""Of each client between two questions: load, not a flood, on a machine that other things run on."""
RETRY_WAITS_S = (1.0, 2.0, 4.0)
"""The client's own retries: three, a second, doubled."""
ANSWER_TIMEOUT_S = 10.0
HEALTHY_TIMEOUT_S = 120.0
AROUND = 5
"""Decisions between two restarts, of all clients together."""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1_800)]


@dataclass
class Asked:
    """What came of the questions."""

    answers: Counter[str] = field(default_factory=Counter[str])
    retries: Counter[str] = field(default_factory=Counter[str])
    unanswered: list[str] = field(default_factory=list[str])

    @property
    def count(self) -> int:
        return self.answers.total()


async def decide(client: httpx.AsyncClient, urls: list[str], asked: Asked) -> None:
    """One question, asked again as a client does, at the next gateway each time."""
    agent = unique("agent")
    data = {
        "tool": "Bash",
        "tool_input": {"command": "ls"},
        "cwd": "/tmp",
        "operation_id": agent,
        "estimated_tokens": 1,
    }
    body = {"kind": "pre-task", "id": unique("event"), "agent_id": agent, "session": f"{agent}-s", "data": data}
    fault = ""
    for url, wait_s in zip(itertools.cycle(urls), (*RETRY_WAITS_S, None), strict=False):
        try:
            response = await client.post(f"{url}/api/v1/decide", json=body)
        except httpx.HTTPError as error:
            fault = type(error).__name__
        else:
            if response.status_code == 200:
                asked.answers[response.json()["code"]] += 1
                return
            fault = f"{response.status_code} {response.json().get('code')}"
        if wait_s is None:
            break
        asked.retries[fault] += 1
        await asyncio.sleep(wait_s)
    asked.unanswered.append(fault)


@asynccontextmanager
async def asking(stack: ComposeStack) -> AsyncGenerator[Asked]:
    """Agents that ask for decisions within the block."""
    asked = Asked()
    ended = asyncio.Event()

    async def agent(number: int) -> None:
        urls = stack.urls[number % len(stack.urls) :] + stack.urls[: number % len(stack.urls)]
        async with httpx.AsyncClient(headers=stack.headers, timeout=ANSWER_TIMEOUT_S) as client:
            while not ended.is_set():
                await decide(client, urls, asked)
                await asyncio.sleep(PAUSE_S)

    agents = [asyncio.create_task(agent(number)) for number in range(CLIENTS)]
    try:
        yield asked
    finally:
        ended.set()
        await asyncio.gather(*agents)


async def more(asked: Asked) -> None:
    """Wait until the load went on for a while: no restart is judged by silence."""
    until = asked.count + AROUND
    await eventually(lambda: asked.count >= until or bool(asked.unanswered), HEALTHY_TIMEOUT_S)


async def restart_each(stack: ComposeStack, services: tuple[str, ...], asked: Asked) -> None:
    """Each container in turn, the next when the last is healthy again."""
    for service in services:
        for container in stack.containers(service):
            await more(asked)
            await asyncio.to_thread(docker, "restart", "--time", "20", container)
            await eventually(partial(is_healthy, container), HEALTHY_TIMEOUT_S)
    await more(asked)


def judge(asked: Asked) -> None:
    print(f"decisions {dict(asked.answers)}, asked again after {dict(asked.retries)}")  # noqa: T201 - the figures
    assert asked.unanswered == []
    # Not one was decided by a fail mode, in a service's place.
    assert set(asked.answers) == {"ok"}


async def test_with_two_of_each_everything_is_restarted_under_load(cluster: ComposeStack) -> None:
    """Each container of each service and each server of the bus: the gateways too, for a client knows both."""
    services = ("audit", "session", "budget", "gateway", "nats", "nats-2", "nats-3")
    async with asking(cluster) as asked:
        await restart_each(cluster, services, asked)
    judge(asked)
