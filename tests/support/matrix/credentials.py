"""Clients whose credentials end while others work: what was confirmed as revoked is shown again a second later."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeAlias

import httpx

from support.events import unique
from support.matrix.book import LetIn
from support.matrix.load import DECIDE, EVENTS, Door

GRACE_S = 1.0
"""I5: how long a revoked credential may still be accepted."""
SHOWN_AGAIN = 3
SHOWN_EVERY_S = 0.3
PAUSE_S = 0.5
LOGIN_TIMEOUT_S = 30.0
PASSWORD = "quite a long phrase 42"
"""No breach list knows it."""

Short: TypeAlias = dict[str, object]
Use = Callable[[], Awaitable[bool]]
"""Shows a credential; whether it was accepted."""


class Revoker:
    """Makes, uses, revokes and shows again: API keys, a person's tokens, agents' sessions."""

    def __init__(self, door: Door, randomness: random.Random) -> None:
        self._door = door
        self._book = door.book
        self._randomness = randomness
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._person = unique("person").lower()

    async def __aenter__(self) -> Self:
        await self._make_person()
        turns = (self._key, self._token, self._session)
        self._tasks = [asyncio.create_task(self._keep(turn)) for turn in turns]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception) and kind is None:
                raise result

    async def _keep(self, turn: Callable[[], Awaitable[None]]) -> None:
        while not self._stopping.is_set():
            await turn()
            await asyncio.sleep(self._randomness.uniform(0.0, PAUSE_S))

    async def _ended(self, what: str, use: Use) -> None:
        """The end of a credential was confirmed just now: it must not open anything when the grace is over."""
        confirmed_at_s = time.monotonic()
        self._book.revoked += 1
        await asyncio.sleep(GRACE_S)
        for _ in range(SHOWN_AGAIN):
            age_s = time.monotonic() - confirmed_at_s
            if await use():
                self._book.let_in.append(LetIn(what, age_s))
            await asyncio.sleep(SHOWN_EVERY_S)

    async def _key(self) -> None:
        made = await self._door.ask("POST", "/api/v1/keys", {"name": unique("key"), "scopes": ["events"]})
        if made is None:
            return
        key_id, bearer = made.json()["key"]["key_id"], made.json()["api_key"]

        async def use() -> bool:
            event: Short = {"kind": "notification", "id": unique("key-event"), "agent_id": "key-holder", "data": {}}
            return await self._accepted("POST", EVENTS, event, bearer)

        await use()
        if await self._door.ask("DELETE", f"/api/v1/keys/{key_id}", named="/api/v1/keys/revoke") is not None:
            await self._ended("API key", use)

    async def _token(self) -> None:
        tokens = await self._login(PASSWORD)
        if tokens is None:
            return
        bearer = tokens["access_token"]

        async def use() -> bool:
            return await self._accepted("GET", "/api/v1/budget/list?page_items=1", None, bearer)

        await use()
        ended = await self._asked_as(bearer, "/api/v1/session/logout")
        if ended is not None and ended.status_code == 200:
            await self._ended("access token", use)

    async def _session(self) -> None:
        session = unique(f"{self._book.tag}-killed")
        agent = f"{self._book.tag}-killed"

        async def use() -> bool:
            body: Short = {"kind": "pre-task", "id": unique("load"), "agent_id": agent, "session": session, "data": {}}
            answer = await self._door.attempt("POST", DECIDE, body)
            return answer is not None and answer.status_code == 200 and answer.json()["decision"] == "allow"

        opened: Short = {
            "kind": "session-start",
            "id": unique("load"),
            "agent_id": agent,
            "session": session,
            "data": {},
        }
        if await self._door.ask("POST", EVENTS, opened) is None:
            return
        path = f"/api/v1/sessions/{session}/kill"
        # Known once its first event was counted; until then 404.
        for _ in range(40):
            answer = await self._quiet("POST", path, {"reason": "the test kills it"})
            if answer is not None and answer.status_code == 200:
                await self._ended("agent's session", use)
                return
            await asyncio.sleep(SHOWN_EVERY_S)

    async def _make_person(self) -> None:
        made = await self._door.ask("POST", "/api/v1/users", {"username": self._person, "role": "viewer"})
        assert made is not None
        once = made.json()["one_time_password"]
        tokens = await self._login(once)
        assert tokens is not None
        body = {"current_password": once, "new_password": PASSWORD}
        changed = await self._asked_as(tokens["access_token"], "/api/v1/session/password", body)
        assert changed is not None
        assert changed.status_code == 200, changed.text

    async def _login(self, password: str) -> dict[str, str] | None:
        answer = await self._quiet("POST", "/api/v1/session/login", {"username": self._person, "password": password})
        return answer.json() if answer is not None and answer.status_code == 200 else None

    async def _asked_as(self, bearer: str, path: str, body: object = None) -> httpx.Response | None:
        return await self._quiet("POST", path, body, headers={"authorization": f"Bearer {bearer}"})

    async def _accepted(self, method: str, path: str, body: object, bearer: str) -> bool:
        answer = await self._quiet(method, path, body, headers={"authorization": f"Bearer {bearer}"})
        return answer is not None and answer.is_success

    async def _quiet(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> httpx.Response | None:
        """One try whose refusal is no finding."""
        try:
            return await self._door.client.request(method, path, json=body, headers=headers, timeout=LOGIN_TIMEOUT_S)
        except httpx.HTTPError:
            return None
