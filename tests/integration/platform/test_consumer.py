"""Batches off the real bus: nothing is lost, poison is set aside, its neighbours pass."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from nats.aio.client import Client
from support.bus import new_broker, started
from support.events import hook_event, unique
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.contracts.events import Kind
from hookbus.platform.bus import consumer
from hookbus.platform.bus.consumer import subscribe_batches
from hookbus.platform.bus.delivery import Ack, Delivery, Poison, Retry, Verdict
from hookbus.platform.bus.streams import SESSION_HOOKS


async def _dead_letters(reader: Client) -> int:
    """How many are stored."""
    return (await reader.jetstream().stream_info(subjects.STREAM_DEADLETTER)).state.messages


async def _at_least(reader: Client, count: int) -> bool:
    """Whether so many dead letters are stored."""
    return await _dead_letters(reader) >= count


class Seen:
    """A handler that remembers every delivery and answers as ``judge`` says."""

    def __init__(self, judge: Callable[[Delivery], Verdict]) -> None:
        self.deliveries: list[Delivery] = []
        self._judge = judge

    async def __call__(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        self.deliveries.extend(deliveries)
        return [self._judge(delivery) for delivery in deliveries]

    def ids(self) -> list[str]:
        return [delivery.event.id for delivery in self.deliveries]


async def test_poison_is_dead_lettered_and_its_neighbours_pass(own_nats_server: NatsFixture) -> None:
    """One message that is no event and one the handler refuses do not stop the events around them."""
    agent = unique("agent")
    subject = subjects.hook_subject(Kind.PRE_TASK, agent)
    seen = Seen(lambda delivery: Poison("refused") if delivery.event.id == "bad" else Ack())
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(broker, SESSION_HOOKS, seen)
    publisher = await own_nats_server.connect("gateway")
    reader = await own_nats_server.connect("provision")
    async with started(broker):
        await publisher.publish(subject, hook_event(agent_id=agent, event_id="first").to_wire())
        await publisher.publish(subject, b"{not json")
        await publisher.publish(subject, hook_event(agent_id=agent, event_id="bad").to_wire())
        await publisher.publish(subject, hook_event(agent_id=agent, event_id="last").to_wire())
        await publisher.flush()
        await eventually(lambda: "last" in seen.ids())
        await eventually(lambda: _at_least(reader, 2))
        letter = await reader.jetstream().get_msg(subjects.STREAM_DEADLETTER, seq=1)
    await publisher.close()
    await reader.close()
    assert seen.ids() == ["first", "bad", "last"]
    assert letter.subject == "deadletter.session"
    assert letter.headers is not None
    assert letter.headers[subjects.HEADER_DEADLETTER_SUBJECT] == subject
    assert letter.headers[subjects.HEADER_DEADLETTER_STREAM] == subjects.STREAM_HOOKS


async def test_a_failing_handler_loses_nothing(own_nats_server: NatsFixture) -> None:
    """A handler that raises gets the same events again; an event refused for now comes back after its delay."""
    failures = 1

    async def fails_once(deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        nonlocal failures
        await seen(deliveries)
        if failures:
            failures -= 1
            raise RuntimeError("the database is away")
        return [Ack() if delivery.delivered >= 3 else Retry("later", 0.05) for delivery in deliveries]

    seen = Seen(lambda _delivery: Ack())
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(broker, SESSION_HOOKS, fails_once)
    publisher = await own_nats_server.connect("gateway")
    async with started(broker):
        event = hook_event()
        await publisher.publish(subjects.hook_subject(Kind.PRE_TASK, event.subject), event.to_wire())
        await publisher.flush()
        await eventually(lambda: len(seen.deliveries) == 3)
        await asyncio.sleep(0.3)
    await publisher.close()
    assert [delivery.delivered for delivery in seen.deliveries] == [1, 2, 3]


async def test_a_message_that_always_fails_ends_in_the_dead_letters(
    own_nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deliveries are bounded: after the last one the message is dead-lettered with the reason, not dropped."""
    monkeypatch.setattr(consumer, "DELIVERIES_MAX", 3)
    seen = Seen(lambda _delivery: Retry("never ready", 0.02))
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(broker, SESSION_HOOKS, seen)
    publisher = await own_nats_server.connect("gateway")
    reader = await own_nats_server.connect("provision")
    async with started(broker):
        event = hook_event()
        await publisher.publish(subjects.hook_subject(Kind.PRE_TASK, event.subject), event.to_wire())
        await publisher.flush()
        await eventually(lambda: _at_least(reader, 1))
        letter = await reader.jetstream().get_msg(subjects.STREAM_DEADLETTER, seq=1)
    await publisher.close()
    await reader.close()
    assert len(seen.deliveries) == 3
    assert letter.data == event.to_wire()
    assert letter.headers is not None
    assert "never ready" in letter.headers[subjects.HEADER_DEADLETTER_REASON]


@pytest.mark.parametrize("raises", [True, False])
async def test_what_fails_while_a_store_is_away_is_never_dead_lettered(
    own_nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch, *, raises: bool
) -> None:
    """However many deliveries that takes, and whether the handler says so or raises what may pass."""
    monkeypatch.setattr(consumer, "DELIVERIES_MAX", 2)
    monkeypatch.setattr(consumer, "RETRY_DELAY_BASE_S", 0.02)
    monkeypatch.setattr(consumer, "RETRY_DELAY_MAX_S", 0.02)

    async def away_until_the_fifth(deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        await seen(deliveries)
        if deliveries[0].delivered >= 5:
            return [Ack()] * len(deliveries)
        if raises:
            raise ConnectionError
        return [Retry("the store is away", passes=True)] * len(deliveries)

    seen = Seen(lambda _delivery: Ack())
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(
        broker, SESSION_HOOKS, away_until_the_fifth, may_pass=lambda error: isinstance(error, ConnectionError)
    )
    publisher = await own_nats_server.connect("gateway")
    reader = await own_nats_server.connect("provision")
    async with started(broker):
        event = hook_event()
        await publisher.publish(subjects.hook_subject(Kind.PRE_TASK, event.subject), event.to_wire())
        await publisher.flush()
        await eventually(lambda: len(seen.deliveries) == 5)
        await asyncio.sleep(0.3)
        letters = await _dead_letters(reader)
    await publisher.close()
    await reader.close()
    assert [delivery.delivered for delivery in seen.deliveries] == [1, 2, 3, 4, 5]
    assert letters == 0


async def test_an_event_that_its_handler_cannot_bear_does_not_hold_back_its_neighbours(
    own_nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of its batch are done at their first delivery; it alone ends in the dead letters."""
    monkeypatch.setattr(consumer, "DELIVERIES_MAX", 2)
    monkeypatch.setattr(consumer, "RETRY_DELAY_BASE_S", 0.02)
    done: list[tuple[str, int]] = []

    async def cannot_bear_two(deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        if any(delivery.event.id == "two" for delivery in deliveries):
            raise ValueError("two")
        done.extend((delivery.event.id, delivery.delivered) for delivery in deliveries)
        return [Ack()] * len(deliveries)

    broker = new_broker(own_nats_server, "session")
    publisher = await own_nats_server.connect("gateway")
    reader = await own_nats_server.connect("provision")
    for name in ("one", "two", "three"):
        event = hook_event(event_id=name)
        await publisher.jetstream().publish(subjects.hook_subject(Kind.PRE_TASK, event.subject), event.to_wire())
    subscribe_batches(broker, SESSION_HOOKS, cannot_bear_two)
    async with started(broker):
        await eventually(lambda: _at_least(reader, 1))
        letter = await reader.jetstream().get_msg(subjects.STREAM_DEADLETTER, seq=1)
        letters = await _dead_letters(reader)
    await publisher.close()
    await reader.close()
    assert sorted(done) == [("one", 1), ("three", 1)]
    assert letters == 1
    assert b'"two"' in (letter.data or b"")


async def test_consumption_goes_on_after_the_server_was_killed(own_nats_server: NatsFixture) -> None:
    """An event stored before a kill -9 of nats-server and one stored after it both arrive."""
    seen = Seen(lambda _delivery: Ack())
    broker = new_broker(own_nats_server, "session")
    publisher = await own_nats_server.connect("gateway")
    subject = subjects.hook_subject(Kind.PRE_TASK, "agent")
    await publisher.jetstream().publish(subject, hook_event(event_id="before").to_wire())
    await publisher.close()
    own_nats_server.kill()
    own_nats_server.start()
    subscribe_batches(broker, SESSION_HOOKS, seen)
    async with started(broker):
        await eventually(lambda: seen.ids() == ["before"])
        own_nats_server.kill()
        own_nats_server.start()
        publisher = await own_nats_server.connect("gateway")
        await publisher.jetstream().publish(subject, hook_event(event_id="after").to_wire())
        await publisher.close()
        await eventually(lambda: "after" in seen.ids())
