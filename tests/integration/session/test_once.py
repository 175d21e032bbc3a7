"""Every event counts once, whoever delivers it how often; what cannot be stored never takes its neighbours down."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from opentelemetry.context import Context
from pydantic import JsonValue
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from support.events import hook_event, unique
from support.servers import NatsFixture, PostgresFixture
from support.session_service import session_settings

from hookbus.contracts.events import Event, Kind
from hookbus.platform.bus.delivery import Ack, Delivery, Poison
from hookbus.platform.database.engine import Database
from hookbus.session import forgetting, handlers
from hookbus.session.domain import terminals
from hookbus.session.domain.risk import Baseline
from hookbus.session.domain.sessions import Session
from hookbus.session.forgetting import Forgetting
from hookbus.session.handlers import EventHandlers
from hookbus.session.repository import DriverConnection, moving
from hookbus.session.repository import sessions as session_rows

EVENTS = 200
SESSIONS = 10
DELIVERERS = 8


def deliveries(events: Sequence[Event]) -> list[Delivery]:
    return [
        Delivery(event, event.to_wire(), f"hooks.{event.kind}.{event.agent_id}", "HOOKS", number, 1, Context())
        for number, event in enumerate(events, start=1)
    ]


@pytest.fixture
def events(database: Database) -> EventHandlers:
    return EventHandlers(database, wake=lambda: None)


async def stored(database: Database, session: str) -> Session:
    async with database.begin() as connection:
        return (await session_rows.read(connection, [session]))[session]


async def test_a_redelivered_batch_changes_nothing(database: Database, events: EventHandlers) -> None:
    session = unique("s")
    batch = deliveries([hook_event(session=session), hook_event(session=session)])
    await events.hooks([*batch, batch[0]])
    before = await stored(database, session)
    assert before.events == 2
    assert await events.hooks(batch) == [Ack(), Ack()]
    assert await stored(database, session) == before


async def test_overlapping_deliveries_at_once_count_each_event_once(database: Database, events: EventHandlers) -> None:
    """Eight processes' worth of deliveries of the same events, in any order and grouping, count each one once."""
    names = [unique("s") for _ in range(SESSIONS)]
    every = [hook_event(session=names[number % SESSIONS]) for number in range(EVENTS)]
    shuffle = random.Random(7)

    async def deliver() -> None:
        mine = deliveries(shuffle.sample(every, EVENTS))
        position = 0
        while position < EVENTS:
            size = shuffle.randint(1, 40)
            await events.hooks(mine[position : position + size])
            position += size

    await asyncio.gather(*(deliver() for _ in range(DELIVERERS)))
    for name in names:
        assert (await stored(database, name)).events == EVENTS // SESSIONS


async def test_concurrent_evidence_is_not_lost(database: Database, events: EventHandlers) -> None:
    """Two batches that bring evidence about one session at once: both pieces stand."""
    session = unique("s")
    home = {"host": "h", "user": "u"}
    await events.hooks(deliveries([hook_event(session=session, data={"fingerprint": dict(home)})]))
    hosts = [f"host{number}" for number in range(12)]
    await asyncio.gather(
        *(
            events.hooks(deliveries([hook_event(session=session, data={"fingerprint": {**home, "host": host}})]))
            for host in hosts
        )
    )
    found = await stored(database, session)
    assert {signal.key for signal in found.signals} == set(hosts)
    assert found.baseline == Baseline("h", "u")


async def test_an_event_that_cannot_be_stored_is_buried_alone(
    database: Database, events: EventHandlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that only the database refuses: the batch is split, the one is poison, the others count."""
    session = unique("s")
    good, bad = hook_event(session=session), hook_event(session=session, event_id=unique("refused"))
    real, real_moving = session_rows.count_once, moving.move_on

    async def refuse(connection: AsyncConnection, stream: str, new: Mapping[str, datetime]) -> frozenset[str]:
        if bad.id in new:
            await connection.execute(text("SELECT 1/0"))
        return await real(connection, stream, new)

    async def refuse_moving(
        connection: DriverConnection, stream: str, new: Mapping[str, datetime], sessions: Sequence[Session]
    ) -> None:
        if bad.id in new:
            await connection.execute("SELECT 1/0")
        await real_moving(connection, stream, new, sessions)

    monkeypatch.setattr(handlers.session_rows, "count_once", refuse)
    monkeypatch.setattr(moving, "move_on", refuse_moving)
    verdicts = await events.hooks(deliveries([good, bad, hook_event(session=session)]))
    assert [type(verdict) for verdict in verdicts] == [Ack, Poison, Ack]
    assert (await stored(database, session)).events == 2


async def test_a_database_that_is_away_makes_the_batch_wait(
    own_postgres_server: PostgresFixture, nats_server: NatsFixture
) -> None:
    """Nothing is buried for an outage: the handler raises and the whole batch is delivered again."""
    server = own_postgres_server
    pool = Database("session", session_settings(nats_server, server))
    server.stop()
    with pytest.raises(Exception) as error:  # noqa: PT011 - the driver's own kind; what counts is the next line
        await EventHandlers(pool, wake=lambda: None).hooks(deliveries([hook_event(session="s")]))
    assert handlers.is_transient(error.value)
    await pool.close()


async def test_terminals_are_kept_within_their_bound(database: Database, events: EventHandlers) -> None:
    agent, terminal, session = unique("agent"), unique("t"), unique("s")
    piece = "x" * (terminals.TERMINAL_OUTPUT_BYTES_MAX // 20)

    def of(kind: Kind, **data: JsonValue) -> Event:
        return hook_event(kind, agent_id=agent, session=session, data={"terminal_id": terminal, **data})

    outputs = [of(Kind.TERMINAL_OUTPUT, sequence=number, text=piece) for number in range(30)]
    nul = of(Kind.TERMINAL_OUTPUT, sequence=0, text="a\x00b")
    life = [of(Kind.TERMINAL_OPENED, shell="bash", cwd="/tmp"), nul, *outputs, of(Kind.TERMINAL_CLOSED, exit_code=3)]
    for _ in range(2):
        assert set(await events.hooks(deliveries(life))) == {Ack()}
    async with database.raw() as connection:
        row = await connection.fetchrow("SELECT * FROM session.terminals WHERE agent_id = $1", agent)
        size = await connection.fetchval(
            "SELECT sum(octet_length(text)) FROM session.terminal_output WHERE agent_id = $1", agent
        )
    assert row is not None
    assert (row["shell"], row["exit_code"], row["truncated"], row["session_id"]) == ("bash", 3, True, session)
    assert size == row["output_bytes"] <= terminals.TERMINAL_OUTPUT_BYTES_MAX


FORBIDDEN = [
    "UPDATE session.api_keys SET secret_sha256 = repeat('0', 64)",
    "UPDATE session.api_keys SET scopes = '{admin}'",
    "DELETE FROM session.api_keys",
    "DELETE FROM session.sessions",
    "UPDATE session.counted_events SET kept_until = now()",
    "DELETE FROM session.assessments",
    "UPDATE session.outbox SET body = ''",
    "TRUNCATE session.outbox",
    "CREATE TABLE session.mine (x int)",
    "DROP TABLE session.terminals",
    "CREATE SCHEMA other",
]


async def test_an_event_whose_id_is_forgotten_is_too_old_to_be_counted(
    database: Database, session_database: PostgresFixture
) -> None:
    """Whatever its clock said, an event counts once: as long as it could count again, its id is remembered."""
    session, moment = unique("s"), [datetime.now(UTC)]
    events = EventHandlers(database, wake=lambda: None, now=lambda: moment[0])
    begun = moment[0]
    batch = deliveries(
        [hook_event(session=session, time=begun + timedelta(days=days)) for days in (0, 40, -40, -89.9, -91)]
    )
    ids = [delivery.event.id for delivery in batch]
    assert await events.hooks(batch) == [Ack()] * len(batch)
    assert (await stored(database, session)).events == 4, "all but the one that was too old"
    async with database.raw() as connection:
        await connection.execute("DELETE FROM session.counted_events")
    assert await _remembered(database, ids) == 4, "the service's role can forget none that still counts"
    owner = await asyncpg.connect(session_database.owner_url)
    try:
        for days in (1, 60, 89, 91, 129, 131, 400):
            moment[0] = begun + timedelta(days=days)
            # As the background task does once the time has come.
            await owner.execute("DELETE FROM session.counted_events WHERE kept_until < $1", moment[0])
            await events.hooks(batch)
            assert (await stored(database, session)).events == 4, days
    finally:
        await owner.close()


async def test_ids_past_their_time_are_forgotten_in_pages(
    database: Database, session_database: PostgresFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "ROWS_MAX", 3)
    ids = [unique("old") for _ in range(7)]
    owner = await asyncpg.connect(session_database.owner_url)
    try:
        await owner.executemany(
            "INSERT INTO session.counted_events (stream, event_id, kept_until) VALUES ('HOOKS', $1, $2)",
            [(name, datetime.now(UTC) - timedelta(days=1)) for name in ids],
        )
    finally:
        await owner.close()
    assert await _remembered(database, ids) == 7
    while await Forgetting(database).forget():
        pass
    assert await _remembered(database, ids) == 0


async def _remembered(database: Database, ids: list[str]) -> int:
    async with database.raw() as connection:
        count: int = await connection.fetchval(
            "SELECT count(*) FROM session.counted_events WHERE event_id = ANY($1)", ids
        )
        return count


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_service_role_may_not(database: Database, statement: str) -> None:
    async with database.raw() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
