"""Traffic of several clients at once: events, decisions and their settlements, each repeated under its own id until it
is answered, as a client does. Every answer goes into the book."""

import asyncio
import json
import random
import time
from types import TracebackType
from typing import Any, Self

import httpx

from support.events import unique
from support.matrix.book import ANSWERS_GOOD, ANSWERS_LATER, Book, Decided, Settled

EVENT_CLIENTS = 3
DECIDE_CLIENTS = 4
SPENDERS = 3
SESSIONS = 5
REQUEST_TIMEOUT_S = 5.0
RETRY_WAIT_S = 0.15
PAUSE_S_MAX = 0.05
PATIENCE_S = 90.0
"""After it a client gives up, which is a finding."""
FLOWING_TIMEOUT_S = 60.0
TOKENS_MAX = 50
OPERATIONS_PER_LIMIT = 25
BATCH_EVENTS_MAX = 12
EVENTS, DECIDE, DEDUCT, INIT = "/api/v1/events", "/api/v1/decide", "/api/v1/budget/deduct", "/api/v1/budget/init"
PATHS = (EVENTS, DECIDE, DEDUCT)


class Door:
    """Requests of the load, each again until it is answered."""

    def __init__(self, url: str, headers: dict[str, str], book: Book) -> None:
        self.book = book
        self._url = url
        self.client = httpx.AsyncClient(base_url=url, headers=headers, timeout=REQUEST_TIMEOUT_S)

    async def ask(
        self, method: str, path: str, body: object = None, *, named: str | None = None, **options: Any
    ) -> httpx.Response | None:
        """The good answer; None where none came within the client's patience. ``named``: the path without its ids."""
        gives_up_at_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < gives_up_at_s:
            sent_at_s = time.monotonic()
            response = await self.attempt(method, path, body, **options)
            if response is not None and response.status_code in ANSWERS_GOOD:
                self.book.answered(named or path, sent_at_s)
                return response
            await asyncio.sleep(RETRY_WAIT_S)
        self.book.unanswered.append(f"{method} {path} {json.dumps(body)[:200]}")
        return None

    async def attempt(self, method: str, path: str, body: object = None, **options: Any) -> httpx.Response | None:
        """One try; None where nothing was answered. What the contract does not know goes into the book."""
        try:
            response = await self.client.request(method, path, json=body, **options)
        except httpx.HTTPError as error:
            self.book.later[type(error).__name__] += 1
            return None
        if response.status_code in ANSWERS_LATER:
            self.book.later[str(response.status_code)] += 1
            if "retry-after" not in response.headers:
                self.book.odd.append(f"{method} {path}: {response.status_code} without Retry-After")
        elif response.status_code not in ANSWERS_GOOD and "authorization" not in options.get("headers", {}):
            self.book.odd.append(f"{method} {path}: {response.status_code} {response.text[:300]}")
        return response


class Load:
    """Clients at work for as long as the block runs; at its end each finishes what it began."""

    def __init__(self, url: str, headers: dict[str, str], randomness: random.Random) -> None:
        self.book = Book(unique("run"))
        self.door = Door(url, headers, self.book)
        self._randomness = randomness
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._reserver = 0

    async def __aenter__(self) -> Self:
        await self._new_reserver()
        for number in range(SPENDERS):
            await self._limit(f"{self.book.tag}-spender-{number}", 1_000_000_000)
        clients = [self._send_events() for _ in range(EVENT_CLIENTS)]
        clients += [self._decide_and_settle(number) for number in range(DECIDE_CLIENTS)]
        self._tasks = [asyncio.create_task(self._work(client)) for client in clients]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        if kind is not None:
            for task in self._tasks:
                task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.door.client.aclose()
        for result in results:
            if isinstance(result, Exception) and kind is None:
                raise result

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def flowing(self, since_s: float | None = None) -> None:
        """Return once every path gave a good answer to a request that was sent after ``since_s`` (now).

        Raises:
            TimeoutError: it did not.
        """
        since_s = time.monotonic() if since_s is None else since_s
        async with asyncio.timeout(FLOWING_TIMEOUT_S):
            while not self.flows_since(since_s):
                await asyncio.sleep(PAUSE_S_MAX)

    def flows_since(self, since_s: float) -> bool:
        """Whether every path gave a good answer to a request that was sent after ``since_s``."""
        return all(self.book.began.get(path, 0.0) > since_s for path in PATHS)

    async def _work(self, client: Any) -> None:
        async for _ in client:
            if self.stopping:
                return
            await asyncio.sleep(self._randomness.uniform(0.0, PAUSE_S_MAX))

    async def _limit(self, agent: str, amount: int) -> None:
        limits = [{"unit": "tokens", "window": "total", "amount": str(amount)}]
        await self.door.ask("POST", f"{INIT}/{agent}", {"limits": limits}, named=INIT)

    async def _new_reserver(self) -> None:
        number = self._reserver + 1
        agent = f"{self.book.tag}-reserver-{number}"
        amount = OPERATIONS_PER_LIMIT * TOKENS_MAX // 2
        self.book.limits[agent] = amount
        await self._limit(agent, amount)
        self._reserver = max(self._reserver, number)

    def _event(self, kind: str, agent: str, data: dict[str, Any]) -> dict[str, Any]:
        session = f"{self.book.tag}-session-{self._randomness.randrange(SESSIONS)}"
        return {"kind": kind, "id": unique("load"), "agent_id": agent, "session": session, "data": data}

    async def _send_events(self) -> Any:
        """Usage and notifications, one at a time and in small batches."""
        while True:
            count = self._randomness.choice((1, 1, 1, self._randomness.randint(2, BATCH_EVENTS_MAX)))
            events = [self._some_event() for _ in range(count)]
            answer = await self.door.ask("POST", EVENTS, events if count > 1 else events[0])
            if answer is not None:
                accepted = answer.json()["accepted"]
                told = {one["id"] for one in accepted}
                self.book.sequence = max(self.book.sequence, *(one["seq"] for one in accepted))
                for event in events:
                    if event["id"] in told:
                        self.book.accepted[event["id"]] = event
                        self.book.sessions[event["session"]].add(event["id"])
                    else:
                        self.book.odd.append(f"event {event['id']} neither accepted nor refused: {answer.text[:300]}")
            yield

    def _some_event(self) -> dict[str, Any]:
        agent = f"{self.book.tag}-spender-{self._randomness.randrange(SPENDERS)}"
        if self._randomness.random() < 0.3:
            return self._event("notification", agent, {"text": "x" * self._randomness.randint(1, 2_000)})
        return self._event("usage", agent, {"tokens_used": self._randomness.randint(1, TOKENS_MAX), "cost": "0.000001"})

    async def _decide_and_settle(self, number: int) -> Any:
        """Reserve by a decision, spend at most what was reserved; clients share an agent until its limit is reached."""
        del number
        while True:
            reserver = self._reserver
            agent = f"{self.book.tag}-reserver-{reserver}"
            estimate = self._randomness.randint(1, TOKENS_MAX)
            event = self._event("pre-task", agent, {"tool": "Read", "estimated_tokens": estimate})
            answer = await self.door.ask("POST", DECIDE, event)
            if answer is not None:
                decision = answer.json()
                decided = Decided(
                    event["id"], agent, decision["decision"], decision["code"], decision.get("reservation")
                )
                self.book.decided[event["id"]] = decided
                self.book.sessions[event["session"]].add(event["id"])
                if decided.decision == "allow":
                    await self._settle(decided, estimate)
                elif decided.code != "tokens_exhausted":
                    self.book.odd.append(f"decision on {event['id']}: {answer.text[:300]}")
                elif self._reserver == reserver:
                    await self._new_reserver()
            yield

    async def _settle(self, decided: Decided, estimate: int) -> None:
        if decided.reservation is None:
            self.book.odd.append(f"decision on {decided.event_id}: allowed without a reservation")
            return
        tokens = self._randomness.randint(0, estimate)
        body = {
            "agent_id": decided.agent,
            "tokens_used": tokens,
            "cost": "0.000001",
            "reservation": decided.reservation,
            "idempotency_key": decided.event_id,
        }
        answer = await self.door.ask("POST", DEDUCT, body)
        if answer is not None:
            self.book.settled[decided.event_id] = Settled(decided.event_id, decided.agent, tokens)
