"""Events that only move a session on are stored in one statement, and to the same end as under lock."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.context import Context
from pydantic import JsonValue
from support.events import hook_event, unique

from hookbus.contracts.events import Event, Kind
from hookbus.platform.bus.delivery import Ack, Delivery
from hookbus.platform.database.engine import Database
from hookbus.session import handlers
from hookbus.session.domain import sessions
from hookbus.session.domain.sessions import Session
from hookbus.session.handlers import EventHandlers
from hookbus.session.repository import sessions as session_rows

EVENTS = 60
HOME = {"host": "h", "user": "u"}


def batch(*events: Event) -> list[Delivery]:
    return [Delivery(event, event.to_wire(), "", "HOOKS", number, 1, Context()) for number, event in enumerate(events)]


async def stored(database: Database, session: str) -> Session:
    async with database.begin() as connection:
        return (await session_rows.read(connection, [session]))[session]


@pytest.fixture
async def processes(database: Database) -> AsyncIterator[tuple[EventHandlers, EventHandlers]]:
    """Two processes' handlers: neither sees what the other remembers."""
    both = EventHandlers(database, wake=lambda: None), EventHandlers(database, wake=lambda: None)
    yield both
    for one in both:
        await one.close()


Processes = tuple[EventHandlers, EventHandlers]


async def test_an_event_of_a_known_session_is_stored_without_a_lock(
    database: Database, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = processes
    session = unique("s")
    await one.hooks(batch(hook_event(session=session)))

    async def no_lock(*_arguments: object) -> None:
        raise AssertionError("read under lock")

    with monkeypatch.context() as patched:
        patched.setattr(handlers.session_rows, "count_once", no_lock)
        verdicts = await one.hooks(batch(*(hook_event(session=session) for _ in range(5))))
    assert verdicts == [Ack()] * 5
    assert (await stored(database, session)).events == 6


async def test_it_ends_as_it_does_under_lock(database: Database, processes: Processes) -> None:
    """The same events in the same batches, remembered between them or not: the same session, its evidence included."""
    one, _ = processes
    chance, begun = random.Random(5), datetime.now(UTC) - timedelta(minutes=20)
    remembered, locked = unique("s"), unique("s")

    def event(number: int) -> tuple[Kind, dict[str, JsonValue], datetime]:
        kind = chance.choice([Kind.PROMPT, Kind.PROMPT, Kind.USAGE, Kind.SESSION_END])
        host = "elsewhere" if number == EVENTS // 2 else chance.choice(["h", "h", "h", None])
        data: dict[str, JsonValue] = {"fingerprint": {**HOME, "host": host}}
        if kind is Kind.USAGE:
            data["tokens_used"] = 500
        return kind, data, begun + timedelta(seconds=chance.uniform(0, 900))

    made = [event(number) for number in range(EVENTS)]
    while made:
        part, made = made[: (size := chance.randint(1, 4))], made[size:]
        for name, handler in ((remembered, one), (locked, EventHandlers(database, wake=lambda: None))):
            events = [hook_event(kind, agent_id="a", session=name, data=data, time=at) for kind, data, at in part]
            assert set(await handler.hooks(batch(*events))) == {Ack()}
    found, expected = await stored(database, remembered), await stored(database, locked)
    assert "elsewhere" in {signal.key for signal in found.signals}
    assert replace(found, id="", version=0) == replace(expected, id="", version=0)


async def test_what_another_process_stored_meanwhile_stands(database: Database, processes: Processes) -> None:
    """Two processes take turns on one session: each event counts, and neither writes over the other's evidence."""
    session = unique("s")
    for number in range(EVENTS):
        fingerprint: dict[str, JsonValue] = {**HOME}
        if number in (10, 31):
            fingerprint["host"] = f"host{number}"
        data: dict[str, JsonValue] = {"fingerprint": fingerprint}
        await processes[number // 3 % 2].hooks(batch(hook_event(session=session, data=data)))
    found = await stored(database, session)
    assert found.events == EVENTS
    assert {signal.key for signal in found.signals} >= {"host10", "host31"}


async def test_at_once_each_event_counts_and_a_kill_stands(database: Database, processes: Processes) -> None:
    """Two processes store events of the same sessions at once while they are killed: nothing is lost."""
    names = [unique("s") for _ in range(4)]
    for one in processes:
        await one.hooks(batch(*(hook_event(session=name) for name in names)))

    async def kill() -> None:
        async with database.begin() as connection:
            found = await session_rows.lock(connection, names)
            dead = [sessions.killed(one, by="test", reason="", at=datetime.now(UTC)) for one in found.values()]
            await session_rows.save(connection, dead)

    async def send(one: EventHandlers) -> None:
        for _ in range(EVENTS):
            while Ack() not in set(await one.hooks(batch(*(hook_event(session=name) for name in names)))):
                pass

    await asyncio.gather(*(send(one) for one in processes), kill())
    for name in names:
        found = await stored(database, name)
        assert (found.events, found.killed_by) == (2 * EVENTS + 2, "test")


async def test_a_redelivered_event_is_not_counted_again(database: Database, processes: Processes) -> None:
    one, _ = processes
    session = unique("s")
    first, second, third = (hook_event(session=session) for _ in range(3))
    await one.hooks(batch(first))
    await one.hooks(batch(second))
    assert await one.hooks(batch(second, third, third)) == [Ack()] * 3
    assert (await stored(database, session)).events == 3
