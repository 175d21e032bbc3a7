"""Pulling ahead: nothing is lost or kept back, whether the reader stops, the durable goes or the server restarts."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from nats.js.api import ConsumerConfig
from support.bus import new_broker, started
from support.events import hook_event, unique
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.contracts.events import Event, Kind
from hookbus.platform.bus import pulling
from hookbus.platform.bus.consumer import batch_loop, subscribe_batches
from hookbus.platform.bus.delivery import Ack, Delivery, Verdict
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.streams import SESSION_HOOKS, ConsumerSpec

EVENTS = 3_000
"""Three times what one reader may hold."""
WAIT_S = 60.0
ACK_WAIT_SHORT_S = 1.0
ACK_WAIT_LONG_S = 40.0
ACK_WAITS_WORKED = 4


def events(agent: str, count: int = EVENTS) -> list[Event]:
    return [hook_event(agent_id=agent) for _ in range(count)]


async def publish(server: NatsFixture, published: list[Event]) -> None:
    broker = new_broker(server, "gateway")
    await broker.connect()
    try:
        publisher = Publisher(broker)
        for first in range(0, len(published), 500):
            part = published[first : first + 500]
            await publisher.publish_many([(event, subjects.hook_subject(Kind.PROMPT, event.subject)) for event in part])
    finally:
        await broker.stop()


async def with_ack_wait(server: NatsFixture, ack_wait_s: float) -> ConsumerSpec:
    """The session service's durable, its ack wait changed."""
    manager = await server.connect("provision")
    stream = manager.jetstream()
    config: ConsumerConfig = (await stream.consumer_info(subjects.STREAM_HOOKS, "session")).config
    config.ack_wait = ack_wait_s
    await stream.add_consumer(subjects.STREAM_HOOKS, config)
    await manager.close()
    return replace(SESSION_HOOKS, ack_wait_s=ack_wait_s)


class Reader:
    """A handler that keeps the ids and, where it is told to, waits before it answers."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.deliveries = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.under_way = self.under_way_most = 0

    async def __call__(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        self.under_way += 1
        self.under_way_most = max(self.under_way_most, self.under_way)
        self.batches.append([delivery.event.id for delivery in deliveries])
        self.deliveries += len(deliveries)
        await self.go_on.wait()
        self.under_way -= 1
        return [Ack()] * len(deliveries)

    @property
    def ids(self) -> list[str]:
        return [event_id for batch in self.batches for event_id in batch]


async def test_a_backlog_comes_once_in_order_and_in_full_batches(own_nats_server: NatsFixture) -> None:
    published = events(unique("agent"))
    await publish(own_nats_server, published)
    reader = Reader()
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(broker, SESSION_HOOKS, reader)
    async with started(broker):
        await eventually(lambda: reader.deliveries >= EVENTS, WAIT_S)
    assert reader.ids == [event.id for event in published]
    assert max(len(batch) for batch in reader.batches) <= pulling.BATCH_MESSAGES_MAX
    assert reader.under_way_most == 1


async def test_batches_overlap_where_the_handler_allows_it_and_no_more_are_held_than_said(
    own_nats_server: NatsFixture,
) -> None:
    published = events(unique("agent"))
    await publish(own_nats_server, published)
    reader = Reader()
    reader.go_on.clear()
    broker = new_broker(own_nats_server, "session")
    await broker.connect()
    loop = batch_loop(broker, SESSION_HOOKS, reader, batches_under_way_max=2)
    loop.start()
    try:
        await eventually(lambda: reader.under_way == 2, WAIT_S)
        manager = await own_nats_server.connect("provision")
        bound = reader.deliveries + pulling.HELD_MESSAGES_MAX
        info = await manager.jetstream().consumer_info(subjects.STREAM_HOOKS, "session")
        assert (info.num_ack_pending or 0) <= bound
        reader.go_on.set()
        await eventually(lambda: reader.deliveries >= EVENTS, WAIT_S)
        await manager.close()
    finally:
        await loop.stop()
        await broker.stop()
    assert sorted(reader.ids) == sorted(event.id for event in published)
    assert reader.under_way_most == 2


async def test_a_reader_that_stops_gives_back_what_it_holds(own_nats_server: NatsFixture) -> None:
    """The next reader has all of it well before the ack wait: nothing that was pulled ahead stays behind."""
    spec = await with_ack_wait(own_nats_server, ACK_WAIT_LONG_S)
    published = events(unique("agent"))
    await publish(own_nats_server, published)
    first, second = Reader(), Reader()
    first.go_on.clear()
    broker = new_broker(own_nats_server, "session")
    await broker.connect()
    loop = batch_loop(broker, spec, first)
    loop.start()
    await eventually(lambda: first.under_way == 1, WAIT_S)
    stopping = asyncio.create_task(loop.stop())
    first.go_on.set()
    await stopping
    manager = await own_nats_server.connect("provision")
    # Acknowledged by the first reader, or given back to whoever asks next: none is left with it for the ack wait.
    after = batch_loop(broker, spec, second)
    after.start()
    try:
        await eventually(lambda: first.deliveries + second.deliveries >= EVENTS, ACK_WAIT_LONG_S * 0.8)
    finally:
        await after.stop()
        await manager.close()
        await broker.stop()
    assert sorted(first.ids + second.ids) == sorted(event.id for event in published)


async def test_what_is_worked_on_for_long_is_not_delivered_again(own_nats_server: NatsFixture) -> None:
    """Neither the batch under way nor what waits behind it, though both take longer than the ack wait."""
    spec = await with_ack_wait(own_nats_server, ACK_WAIT_SHORT_S)
    published = events(unique("agent"), pulling.HELD_MESSAGES_MAX)
    await publish(own_nats_server, published)
    reader = Reader()
    reader.go_on.clear()
    broker = new_broker(own_nats_server, "session")
    await broker.connect()
    loop = batch_loop(broker, spec, reader)
    loop.start()
    try:
        await eventually(lambda: reader.under_way == 1, WAIT_S)
        await asyncio.sleep(ACK_WAITS_WORKED * ACK_WAIT_SHORT_S)
        reader.go_on.set()
        await eventually(lambda: set(reader.ids) == {event.id for event in published}, WAIT_S)
    finally:
        await loop.stop()
        await broker.stop()
    manager = await own_nats_server.connect("provision")
    info = await manager.jetstream().consumer_info(subjects.STREAM_HOOKS, "session")
    await manager.close()
    assert (info.num_redelivered, info.num_ack_pending) == (0, 0)
    assert sorted(reader.ids) == sorted(event.id for event in published)


async def test_a_durable_that_was_deleted_is_read_again_once_it_is_back(own_nats_server: NatsFixture) -> None:
    reader = Reader()
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(broker, SESSION_HOOKS, reader)
    manager = await own_nats_server.connect("provision")
    stream = manager.jetstream()
    async with started(broker):
        before = events(unique("agent"), 10)
        await publish(own_nats_server, before)
        await eventually(lambda: reader.deliveries >= 10, WAIT_S)
        config: ConsumerConfig = (await stream.consumer_info(subjects.STREAM_HOOKS, "session")).config
        await stream.delete_consumer(subjects.STREAM_HOOKS, "session")
        config.deliver_policy = None
        await stream.add_consumer(subjects.STREAM_HOOKS, config)
        after = events(unique("agent"), 10)
        await publish(own_nats_server, after)
        await eventually(lambda: {event.id for event in after} <= set(reader.ids), WAIT_S)
    await manager.close()


async def test_reading_goes_on_after_the_server_was_killed(own_nats_server: NatsFixture) -> None:
    """A request that died with the server is asked again; what was stored comes, once its publisher was told so."""
    reader = Reader()
    broker = new_broker(own_nats_server, "session")
    subscribe_batches(broker, SESSION_HOOKS, reader)
    async with started(broker):
        await publish(own_nats_server, events(unique("agent"), 10))
        await eventually(lambda: reader.deliveries >= 10, WAIT_S)
        own_nats_server.kill()
        own_nats_server.start()
        after = events(unique("agent"), 10)
        await publish(own_nats_server, after)
        await eventually(lambda: {event.id for event in after} <= set(reader.ids), WAIT_S)
