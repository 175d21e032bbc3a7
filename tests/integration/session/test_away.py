"""With the bus away: nothing said about a session or a key is lost, and no revoked key comes back."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
from nats.js.errors import KeyNotFoundError
from opentelemetry.context import Context
from sqlalchemy.ext.asyncio import AsyncConnection
from support.bus import new_broker
from support.events import hook_event, unique
from support.servers import NatsFixture, PostgresFixture
from support.session_service import session_settings
from support.waiting import eventually

from hookbus.contracts.events import Event
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import (
    ApiKeyRecord,
    AssessRequest,
    KeyCreateRequest,
    KeyRevokeRequest,
    KeyScope,
    SessionRequest,
)
from hookbus.contracts.subjects import BUCKET_API_KEYS
from hookbus.platform.bus.delivery import Delivery
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.database.engine import Database, is_transient
from hookbus.platform.database.migrate import upgrade
from hookbus.session.handlers import EventHandlers
from hookbus.session.key_bucket import KeySync, NatsKeyBucket
from hookbus.session.reader import SessionReader
from hookbus.session.relay import Relay
from hookbus.session.repository import outbox
from hookbus.session.requests import Requests


@dataclass
class Parts:
    """The service's parts on a bus that the test may stop; nothing runs in the background."""

    nats: NatsFixture
    requests: Requests
    relay: Relay
    key_sync: KeySync
    events: EventHandlers


@pytest.fixture
async def parts(own_nats_server: NatsFixture, database: Database) -> AsyncIterator[Parts]:
    broker = new_broker(own_nats_server, "session")
    await broker.connect()
    key_sync = KeySync(database, NatsKeyBucket(broker))
    relay = Relay(database, Publisher(broker), key_sync)
    reader = SessionReader(database)
    requests = Requests(database, key_sync, reader, wake=relay.wake)
    # What other tests of the shared database left queued goes first.
    while await relay.publish_waiting():
        pass
    yield Parts(own_nats_server, requests, relay, key_sync, EventHandlers(database, wake=relay.wake))
    await broker.stop()
    await reader.close()


async def connected_again(parts: Parts) -> None:
    parts.nats.start()

    async def syncs() -> bool:
        try:
            await parts.key_sync.sync_all()
        except ProblemError:
            return False
        return True

    await eventually(syncs)


async def bucket_record(nats: NatsFixture, key_id: str) -> ApiKeyRecord | None:
    client = await nats.connect("gateway")
    try:
        bucket = await client.jetstream().key_value(BUCKET_API_KEYS)
        return ApiKeyRecord.model_validate_json((await bucket.get(key_id)).value or b"")
    except KeyNotFoundError:
        return None
    finally:
        await client.close()


def create_request() -> KeyCreateRequest:
    return KeyCreateRequest(name="ci", scopes=frozenset({KeyScope.EVENTS}), actor="ann")


async def test_a_kill_while_the_bus_is_away_is_told_once_it_is_back(parts: Parts) -> None:
    """The kill holds at once; its security event waits in the outbox and is published once."""
    session = unique("s")
    event = hook_event(session=session)
    await parts.events.hooks([Delivery(event, b"", "hooks.pre-task.agent", "HOOKS", 1, 1, Context())])
    parts.nats.stop()
    await parts.requests.kill(SessionRequest(id=session, reason="stop", actor="ann"))
    with pytest.raises(ProblemError):
        await parts.relay.publish_waiting()
    await connected_again(parts)

    async def told() -> bool:
        try:
            return await parts.relay.publish_waiting() == 1
        except ProblemError:
            return False

    await eventually(told)
    assert await parts.relay.publish_waiting() == 0
    client = await parts.nats.connect("provision")
    try:
        message = await client.jetstream().get_last_msg("SECURITY", "security.session_killed")
        assert Event.model_validate_json(message.data or b"").session == session
        info = await client.jetstream().stream_info("SECURITY", subjects_filter="security.session_killed")
        assert (info.state.subjects or {}) == {"security.session_killed": 1}
    finally:
        await client.close()


async def test_an_event_published_before_a_crash_is_published_under_the_same_id(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bus has it, the row is still there: the second publish is the same message."""
    made = await parts.requests.key_create(create_request())

    async def dies(connection: AsyncConnection, ids: Sequence[int]) -> None:
        raise RuntimeError("killed between publish and delete")

    with monkeypatch.context() as broken:
        broken.setattr(outbox, "delete", dies)
        with pytest.raises(RuntimeError):
            await parts.relay.publish_waiting()
    assert await parts.relay.publish_waiting() == 1
    client = await parts.nats.connect("provision")
    try:
        info = await client.jetstream().stream_info("SECURITY", subjects_filter="security.key_created")
        message = await client.jetstream().get_last_msg("SECURITY", "security.key_created")
        assert made.key.key_id.encode() in (message.data or b"")
        assert (info.state.subjects or {}).get("security.key_created") == await _created(parts)
    finally:
        await client.close()


async def _created(parts: Parts) -> int:
    """How many the fresh bus was ever told of: those left by other tests, and one."""
    client = await parts.nats.connect("provision")
    try:
        stream = client.jetstream()
        info = await stream.stream_info("SECURITY")
        ids: set[str] = set()
        for seq in range(info.state.first_seq, info.state.last_seq + 1):
            event = Event.model_validate_json((await stream.get_msg("SECURITY", seq)).data or b"")
            if event.security_code == "key_created":
                ids.add(event.id)
        return len(ids)
    finally:
        await client.close()


async def test_a_revocation_while_the_bus_is_away_is_refused_and_still_arrives(parts: Parts) -> None:
    """The caller hears "unavailable", for gateways still let the key in; the bucket learns of it when it is back."""
    made = await parts.requests.key_create(create_request())
    key_id = made.key.key_id
    parts.nats.stop()
    with pytest.raises(ProblemError) as problem:
        await parts.requests.key_revoke(KeyRevokeRequest(key_id=key_id))
    assert problem.value.problem.code is ProblemCode.UNAVAILABLE
    parts.nats.start()

    async def arrived() -> bool:
        try:
            await parts.key_sync.sync_waiting()
        except ProblemError:
            return False
        return True

    await eventually(arrived)
    record = await bucket_record(parts.nats, key_id)
    assert record is not None
    assert record.revoked


async def test_a_lost_bucket_is_filled_again_with_revoked_keys_revoked(parts: Parts) -> None:
    kept = (await parts.requests.key_create(create_request())).key.key_id
    revoked = (await parts.requests.key_create(create_request())).key.key_id
    await parts.requests.key_revoke(KeyRevokeRequest(key_id=revoked))
    client = await parts.nats.connect("provision")
    await client.jetstream().purge_stream(f"KV_{BUCKET_API_KEYS}")
    await client.close()
    assert await bucket_record(parts.nats, kept) is None
    await parts.key_sync.sync_all()
    again, dead = await bucket_record(parts.nats, kept), await bucket_record(parts.nats, revoked)
    assert again is not None
    assert not again.revoked
    assert dead is not None
    assert dead.revoked


async def test_a_refill_never_overtakes_a_revocation(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refill read the key as live and is slow to write; the revocation waits for it and has the last word."""
    key_id = (await parts.requests.key_create(create_request())).key.key_id
    real = NatsKeyBucket.put

    async def slow(self: NatsKeyBucket, record: ApiKeyRecord) -> None:
        if not record.revoked:
            await asyncio.sleep(0.3)
        await real(self, record)

    with monkeypatch.context() as patched:
        patched.setattr(NatsKeyBucket, "put", slow)
        refill = asyncio.create_task(parts.key_sync.sync(key_id))
        await asyncio.sleep(0.1)
        await parts.requests.key_revoke(KeyRevokeRequest(key_id=key_id))
        await refill
    record = await bucket_record(parts.nats, key_id)
    assert record is not None
    assert record.revoked


async def test_a_database_that_was_away_is_read_again_at_once(
    own_postgres_server: PostgresFixture, own_nats_server: NatsFixture
) -> None:
    """Away it is what may pass, not a fault; back again, the broken connection costs no caller an error."""
    server = own_postgres_server
    await asyncio.to_thread(upgrade, "hookbus.session", server.owner_url, "session")
    pool = Database("session", session_settings(own_nats_server, server))
    reader = SessionReader(pool)
    bucket = NatsKeyBucket(new_broker(own_nats_server, "session"))
    requests = Requests(pool, KeySync(pool, bucket), reader, wake=lambda: None)
    question = AssessRequest(agent_id="a", session="s", event_id="e")
    assert (await requests.assess(question)).decision == "allow"
    server.stop()
    for _ in range(2):
        with pytest.raises(Exception) as raised:  # noqa: PT011 - of the driver's many kinds; what counts comes next
            await requests.assess(question)
        assert is_transient(raised.value)
    server.start()
    assert (await requests.assess(question)).decision == "allow"
    server.stop()
    server.start()
    assert (await requests.assess(question)).decision == "allow"
    await reader.close()
    await pool.close()


async def test_many_questions_at_once_are_each_answered_about_their_own_session(database: Database) -> None:
    """A thousand calls over a kept connection: no waiting for the pool, and no answer mixed up with another."""
    reader = SessionReader(database)
    events = EventHandlers(database, wake=lambda: None)
    names = [unique("s") for _ in range(40)]
    opened = [hook_event(session=name, agent_id=name) for name in names]
    await events.hooks([Delivery(event, b"", "", "HOOKS", 1, 1, Context()) for event in opened])
    asked = [*names, unique("nobody")] * 25
    found = await asyncio.gather(*(reader.read(name) for name in asked))
    assert [None if session is None else session.agent_id for session in found] == [*names, None] * 25
    await reader.close()
