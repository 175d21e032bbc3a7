"""The publisher on a real server: what is confirmed is stored, once, whatever is sent twice."""

import asyncio
import time
import uuid
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from support.bus import new_broker
from support.servers import NatsFixture

from hookbus.contracts.events import Event, Kind, type_of_kind
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.subjects import hook_subject
from hookbus.platform.bus.publisher import BATCH_EVENTS_MAX, PUBLISH_DEADLINE_S, Publisher

SLACK_S = 5.0
WAIT_S = 60.0
"""What a loaded machine may add to a deadline."""
AGENT = "publisher"
SUBJECT = hook_subject(Kind.PROMPT, AGENT)


def event(event_id: str | None = None, size: int = 10) -> Event:
    return Event(
        id=event_id or uuid.uuid4().hex,
        source="urn:test",
        type=type_of_kind(Kind.PROMPT),
        subject=AGENT,
        time=datetime.now(UTC),
        data={"text": "x" * size},
    )


async def test_one_and_many(nats_server: NatsFixture) -> None:
    """Sequence numbers come back in order, over more events than one batch may hold; repeats get their old ones."""
    broker = new_broker(nats_server, "gateway")
    await broker.connect()
    publisher = Publisher(broker)
    try:
        first = event()
        seq = await publisher.publish(first, SUBJECT)
        assert await publisher.publish(first, SUBJECT) == seq
        events = [(event(), SUBJECT) for _ in range(BATCH_EVENTS_MAX + 500)]
        sequences = await publisher.publish_many(events)
        assert sequences == sorted(set(sequences))
        assert len(sequences) == len(events)
        assert await publisher.publish_many([*events[:20], (first, SUBJECT), events[3]]) == [
            *sequences[:20],
            seq,
            sequences[3],
        ]
    finally:
        await broker.stop()


async def test_large_events_travel_in_several_batches(nats_server: NatsFixture) -> None:
    """The bytes of one batch are bounded as its events are."""
    broker = new_broker(nats_server, "gateway")
    await broker.connect()
    try:
        events = [(event(size=200_000), SUBJECT) for _ in range(60)]
        assert len(set(await Publisher(broker).publish_many(events))) == 60
    finally:
        await broker.stop()


async def test_what_cannot_be_stored_is_a_problem(nats_server: NatsFixture) -> None:
    """Too large; a subject of no stream, given up at the deadline; a broker that never connected."""
    broker = new_broker(nats_server, "gateway")
    publisher = Publisher(broker)
    with pytest.raises(ProblemError) as caught:
        await publisher.publish(event(), SUBJECT)
    assert caught.value.problem.code is ProblemCode.UNAVAILABLE
    await broker.connect()
    try:
        with pytest.raises(ProblemError) as caught:
            await publisher.publish(event(size=400_000), SUBJECT)
        assert caught.value.problem.code is ProblemCode.TOO_LARGE
        began = time.monotonic()
        with pytest.raises(ProblemError) as caught:
            await publisher.publish(event(), "rpc.nobody.listens")
        assert caught.value.problem.code is ProblemCode.UNAVAILABLE
        assert caught.value.problem.retry_after_s is not None
        assert time.monotonic() - began < PUBLISH_DEADLINE_S + SLACK_S
    finally:
        await broker.stop()


async def test_a_deadline_whose_cancellation_is_lost_is_kept_all_the_same(
    nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client may swallow it: then the answer is that nobody stores the subject, and not an endless wait."""
    broker = new_broker(nats_server, "gateway")
    await broker.connect()

    async def deaf(*_arguments: object) -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(WAIT_S)

    monkeypatch.setattr(Publisher, "_request_once", deaf)
    try:
        began = time.monotonic()
        with pytest.raises(ProblemError) as caught:
            await Publisher(broker).publish(event(), SUBJECT)
        assert caught.value.problem.code is ProblemCode.UNAVAILABLE
        assert time.monotonic() - began < PUBLISH_DEADLINE_S + SLACK_S
    finally:
        await broker.stop()


async def test_a_bus_that_comes_back_in_time_is_waited_for(own_nats_server: NatsFixture) -> None:
    """After a restart publishing goes on over the same connection, and a repeat is still one message."""
    broker = new_broker(own_nats_server, "gateway")
    await broker.connect()
    publisher = Publisher(broker)
    try:
        known = event()
        seq = await publisher.publish(known, SUBJECT)
        await asyncio.to_thread(own_nats_server.kill)
        await asyncio.sleep(0.1)
        began = time.monotonic()
        with pytest.raises(ProblemError):
            await publisher.publish(event(), SUBJECT)
        assert time.monotonic() - began < PUBLISH_DEADLINE_S + SLACK_S
        await asyncio.to_thread(own_nats_server.start)
        deadline = time.monotonic() + 10
        while True:
            try:
                assert await publisher.publish(known, SUBJECT) == seq
                break
            except ProblemError:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)
    finally:
        await broker.stop()
