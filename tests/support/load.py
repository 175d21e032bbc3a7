"""Load on a stack, and what its clients were told: the side of the truth that hookbus cannot make up."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from support.events import unique

TOKENS_MAX = 50
REQUEST_TIMEOUT_S = 5.0
RETRY_WAIT_S = 0.2
ATTEMPTS_MAX = 300
"""With the wait above: a minute, four times what the stack may take to be whole again."""


@dataclass
class Told:
    """What the gateway answered: the events it took responsibility for, and what they say was spent."""

    accepted: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    failures: Counter[str] = field(default_factory=Counter[str])

    def tokens_by_agent(self) -> Counter[str]:
        """An independent recount of the budget."""
        spent: Counter[str] = Counter()
        for event in self.accepted.values():
            spent[event["agent_id"]] += event["data"]["tokens_used"]
        return spent


def usage_events(count: int, agents: list[str], randomness: random.Random) -> list[dict[str, Any]]:
    """Short-form usage events with ids of their own, spread over ``agents``."""
    return [
        {
            "kind": "usage",
            "id": unique("load"),
            "agent_id": randomness.choice(agents),
            "session": f"session-{number % 10}",
            "data": {"tokens_used": randomness.randint(1, TOKENS_MAX), "cost": "0.000001"},
        }
        for number in range(count)
    ]


class Sender:
    """Sends events one at a time from many clients, each again under its id until it is accepted."""

    def __init__(self, url: str, headers: dict[str, str], clients: int) -> None:
        self._url = f"{url}/api/v1/events"
        self._headers = headers
        self._clients = clients
        self.told = Told()

    async def send(self, events: list[dict[str, Any]]) -> None:
        """Return once every event was accepted.

        Raises:
            AssertionError: an event was refused, or not accepted within the attempts.
        """
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for event in events:
            queue.put_nowait(event)
        limits = httpx.Limits(max_connections=self._clients, max_keepalive_connections=self._clients)
        async with httpx.AsyncClient(headers=self._headers, timeout=REQUEST_TIMEOUT_S, limits=limits) as client:
            await asyncio.gather(*(self._work(client, queue) for _ in range(self._clients)))

    async def _work(self, client: httpx.AsyncClient, queue: asyncio.Queue[dict[str, Any]]) -> None:
        while not queue.empty():
            event = queue.get_nowait()
            for _ in range(ATTEMPTS_MAX):
                if await self._accepted(client, event):
                    self.told.accepted[event["id"]] = event
                    break
                await asyncio.sleep(RETRY_WAIT_S)
            else:
                raise AssertionError(f"not accepted in {ATTEMPTS_MAX} attempts: {self.told.failures}")

    async def _accepted(self, client: httpx.AsyncClient, event: dict[str, Any]) -> bool:
        try:
            response = await client.post(self._url, json=event)
        except httpx.HTTPError as error:
            self.told.failures[type(error).__name__] += 1
            return False
        if response.status_code == 202:
            assert [one["id"] for one in response.json()["accepted"]] == [event["id"]]
            return True
        self.told.failures[str(response.status_code)] += 1
        assert response.status_code in {429, 503}, response.text
        assert "retry-after" in response.headers
        return False
