"""Negative controls: with the mechanism broken that an invariant rests on, its checker fails, and no other does."""

import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from support.events import unique
from support.matrix.deaths import killed, killed_at
from support.matrix.messages import duplicates_beyond_the_window, poison
from support.matrix.points import Point
from support.matrix.recount import STREAM_HOOKS
from support.matrix.row import Fault, Scene, play
from support.matrix.rows import ROW_TIMEOUT_S
from support.matrix.sabotage import Measure
from support.matrix.stand import Stand, standing
from support.waiting import SLOWER_MAX, eventually

from hookbus.contracts import subjects

WITHIN_S = 1.0
TOO_LONG_S = WITHIN_S * SLOWER_MAX + 2.0
RECORD_BYTE = 90
"""Of an entry: within its nonce, behind the header."""
SPENT_TIMEOUT_S = 60.0
DEATHS_MAX = 4

pytestmark = [pytest.mark.faults, pytest.mark.timeout(ROW_TIMEOUT_S)]


@pytest.fixture(scope="module")
def stand() -> Generator[Stand]:
    with standing() as running:
        yield running


async def broken_by(stand: Stand, fault: Fault) -> set[str]:
    _, findings = await play(stand, fault)
    print(findings)  # noqa: T201 - what a failing control found instead
    return findings.broken


def until(name: str, happened: Callable[[Scene], bool]) -> Fault:
    """No fault, but load for as long as it takes until something happened."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        await eventually(lambda: happened(scene), SPENT_TIMEOUT_S)
        yield

    return Fault(name, inflict)


async def test_an_event_that_is_lost_breaks_i1(stand: Stand) -> None:
    """What dies may be a batch of which no client was told, the end of a key say: then the next death shows it."""
    found = set[str]()
    with stand.sabotaged(Measure.ACKNOWLEDGE_FIRST):
        for _ in range(DEATHS_MAX):
            found |= await broken_by(stand, killed_at("audit", "audit", Point.BEFORE_COMMIT))
            if found:
                break
    assert found == {"I1"}


async def test_an_event_that_is_logged_twice_breaks_i1(stand: Stand) -> None:
    """The log forgets that it holds an event, which then comes again."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        event_id = next(iter(scene.load.book.accepted))
        superuser, bus = await stand.superuser(), await stand.bus("gateway")
        try:

            async def forgotten() -> bool:
                answer = await superuser.execute(
                    "DELETE FROM audit.entry_lookup WHERE stream = $1 AND event_id = $2", STREAM_HOOKS, event_id
                )
                return answer == "DELETE 1"

            await eventually(forgotten)
            event = scene.load.book.accepted[event_id]
            wire = {
                "specversion": "1.0",
                "id": event_id,
                "source": "tests",
                "type": f"dev.hookbus.{event['kind']}.v1",
                "subject": event["agent_id"],
                "time": "2026-01-01T00:00:00Z",
                "data": event["data"],
            }
            subject = f"hooks.{event['kind']}.{event['agent_id']}"
            headers = {subjects.HEADER_MSG_ID: f"again-{event_id}"}
            await bus.jetstream().publish(subject, json.dumps(wire).encode(), headers=headers)
            yield
        finally:
            await superuser.close()
            await bus.close()

    assert await broken_by(stand, Fault("an event forgotten by the log", inflict)) == {"I1"}


async def test_reservations_that_always_fit_break_i2(stand: Stand) -> None:
    def passed(scene: Scene) -> bool:
        book = scene.load.book
        agent, limit = next(iter(book.limits.items()))
        return sum(one.tokens for one in book.settled.values() if one.agent == agent) > limit

    with stand.sabotaged(Measure.JUDGE_NOTHING):
        assert await broken_by(stand, until("limits ignored", passed)) == {"I2"}


async def test_an_event_that_is_charged_twice_breaks_i3(stand: Stand) -> None:
    with stand.sabotaged(Measure.CHARGE_AGAIN):
        assert await broken_by(stand, duplicates_beyond_the_window()) == {"I3"}


async def test_a_changed_byte_of_an_entry_breaks_i4(stand: Stand) -> None:
    superuser = await stand.superuser()

    async def flip() -> None:
        await superuser.execute(
            "UPDATE audit.stored_events SET record = set_byte(record, $1, get_byte(record, $1) # 1)"
            " WHERE index = (SELECT min(index) FROM audit.stored_events)",
            RECORD_BYTE,
        )

    @asynccontextmanager
    async def inflict(_scene: Scene) -> AsyncGenerator[None]:
        await flip()
        yield

    try:
        assert await broken_by(stand, Fault("a byte changed", inflict)) == {"I4"}
    finally:
        await flip()
        await superuser.close()


async def test_a_gateway_that_trusts_for_an_hour_breaks_i5(stand: Stand) -> None:
    with stand.sabotaged(Measure.TRUST_FOR_AN_HOUR):
        assert await broken_by(stand, until("revoked", lambda scene: bool(scene.load.book.let_in))) == {"I5"}


async def test_a_restart_that_is_too_late_breaks_i6(stand: Stand) -> None:
    stand.pause_restarts(TOO_LONG_S)
    try:
        assert await broken_by(stand, replace(killed("traces"), whole_within_s=WITHIN_S)) == {"I6"}
    finally:
        stand.pause_restarts(None)


async def test_poison_that_vanishes_breaks_i7(stand: Stand) -> None:
    with stand.sabotaged(Measure.BURY_SILENTLY):
        assert await broken_by(stand, poison()) == {"I7"}


async def test_a_dead_letter_of_a_good_message_breaks_i7(stand: Stand) -> None:
    """A service gives up an event that it could have processed."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        bus = await stand.bus("session")
        headers = {
            subjects.HEADER_MSG_ID: unique("letter"),
            subjects.HEADER_DEADLETTER_STREAM: subjects.STREAM_HOOKS,
            subjects.HEADER_DEADLETTER_SEQUENCE: str(scene.load.book.sequence),
            subjects.HEADER_DEADLETTER_REASON: "given up",
        }
        try:
            await bus.jetstream().publish(subjects.deadletter_subject("session"), b"{}", headers=headers)
            yield
        finally:
            await bus.close()

    assert await broken_by(stand, Fault("a good message given up", inflict)) == {"I7"}
