"""The users of the bus: each does its own work and is refused everything else."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from support.servers import NatsFixture, subscribe

from hookbus.contracts import subjects
from hookbus.contracts.subjects import inbox_prefix
from hookbus.embedded.nats_permissions import DURABLES, SERVICES, USERS

REFUSAL_WAIT_S = 2.0


@asynccontextmanager
async def connected(server: NatsFixture, user: str) -> AsyncGenerator[tuple[Client, "asyncio.Queue[str]"]]:
    """A client, and the permission refusals the server sends it."""
    refusals: asyncio.Queue[str] = asyncio.Queue()

    async def note(error: Exception) -> None:
        await refusals.put(str(error))

    client = await server.connect(user, on_error=note)
    try:
        yield client, refusals
    finally:
        await client.close()


async def publish_refused(server: NatsFixture, user: str, subject: str) -> bool:
    async with connected(server, user) as (client, refusals):
        await client.publish(subject, b"{}")
        await client.flush()
        await asyncio.sleep(0.05)
        return any("permissions violation for publish" in text for text in _drain(refusals))


async def subscribe_refused(server: NatsFixture, user: str, subject: str) -> bool:
    async with connected(server, user) as (client, refusals):
        await subscribe(client, subject)
        await client.flush()
        await asyncio.sleep(0.05)
        return any("permissions violation for subscription" in text for text in _drain(refusals))


def _drain(queue: "asyncio.Queue[str]") -> list[str]:
    texts: list[str] = []
    while not queue.empty():
        texts.append(queue.get_nowait().lower())
    return texts


async def test_wrong_password_and_no_password_are_refused(nats_server: NatsFixture) -> None:
    for credential in ({}, {"user": "gateway", "password": "wrong"}):
        with pytest.raises(NatsError):
            await nats.connect(  # pyright: ignore[reportUnknownMemberType]  # its options are untyped
                nats_server.url, allow_reconnect=False, connect_timeout=2, **credential
            )


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        *[(service, "hooks.usage.forged") for service in (*SERVICES, "traces", "provision")],
        *[(service, subjects.rpc_subject("budget", "deduct")) for service in (*SERVICES, "traces", "provision")],
        *[(user, f"$KV.{subjects.BUCKET_API_KEYS}.forged") for user in USERS if user != "session"],
        *[
            (user, f"$JS.API.{verb}.{subjects.STREAM_HOOKS}")
            for user in USERS
            if user != "provision"
            for verb in ("STREAM.DELETE", "STREAM.PURGE", "STREAM.UPDATE", "STREAM.MSG.DELETE")
        ],
        ("budget", subjects.deadletter_subject("audit")),
        ("budget", "$JS.API.CONSUMER.MSG.NEXT.HOOKS.audit"),
        ("budget", "$JS.ACK.HOOKS.audit.1.1.1.1.1"),
        ("gateway", "$JS.API.CONSUMER.MSG.NEXT.HOOKS.audit"),
        ("gateway", "$JS.API.STREAM.MSG.GET.HOOKS"),
        ("gateway", "deadletter.budget"),
        ("provision", subjects.rpc_subject("session", "kill")),
        ("traces", "security.forged"),
    ],
)
async def test_a_user_cannot_publish_what_is_not_its_work(nats_server: NatsFixture, user: str, subject: str) -> None:
    assert await publish_refused(nats_server, user, subject)


@pytest.mark.parametrize("user", USERS)
async def test_a_user_cannot_read_what_is_not_addressed_to_it(nats_server: NatsFixture, user: str) -> None:
    others = [other for other in USERS if other != user]
    wide = [">", "$KV.>", "$JS.>", "rpc.>", "_INBOX.>", "deadletter.>"]
    if user != "gateway":  # which shows events as they happen
        wide += ["hooks.>", "security.>"]
    for subject in [*wide, *(f"{inbox_prefix(other)}.>" for other in others), *(f"rpc.{other}.>" for other in others)]:
        assert await subscribe_refused(nats_server, user, subject), subject


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_reads_its_streams_and_may_complain(nats_server: NatsFixture, service: str) -> None:
    gateway = await nats_server.connect("gateway")
    client = await nats_server.connect(service)
    try:
        await JetStreamContext(gateway).publish(f"hooks.usage.{service}", b"{}", stream=subjects.STREAM_HOOKS)
        await JetStreamContext(gateway).publish(f"security.test_{service}", b"{}", stream=subjects.STREAM_SECURITY)
        jetstream = JetStreamContext(client)
        for stream in DURABLES[service]:
            subscription = await jetstream.pull_subscribe_bind(durable=service, stream=stream)
            messages = await subscription.fetch(1, timeout=5)
            await messages[0].ack_sync(timeout=5)
            assert (await subscription.consumer_info()).name == service
        await jetstream.publish(
            subjects.deadletter_subject(service), b"{}", stream=subjects.STREAM_DEADLETTER, timeout=5
        )
        await jetstream.publish("security.test", b"{}", stream=subjects.STREAM_SECURITY, timeout=5)
    finally:
        await gateway.close()
        await client.close()


@pytest.mark.parametrize("service", [*SERVICES, "traces"])
async def test_the_gateway_asks_and_a_service_answers_once(nats_server: NatsFixture, service: str) -> None:
    async with connected(nats_server, service) as (responder, _), connected(nats_server, "gateway") as (asker, _):

        async def answer(message: Msg) -> None:
            await message.respond(b"pong")

        await subscribe(responder, f"rpc.{service}.ping", queue=service, callback=answer)
        await responder.flush()
        reply = await asker.request(f"rpc.{service}.ping", b"", timeout=REFUSAL_WAIT_S)
        assert reply.data == b"pong"


async def test_session_writes_api_keys_and_the_gateway_reads_them(nats_server: NatsFixture) -> None:
    async with connected(nats_server, "session") as (session, _), connected(nats_server, "gateway") as (gateway, _):
        written = await JetStreamContext(session).key_value(subjects.BUCKET_API_KEYS)
        await written.put("abcdefabcdef", b"{}")
        read = await JetStreamContext(gateway).key_value(subjects.BUCKET_API_KEYS)
        assert (await read.get("abcdefabcdef")).value == b"{}"


async def test_provision_may_create_the_first_api_key(nats_server: NatsFixture) -> None:
    async with connected(nats_server, "session") as (session, _), connected(nats_server, "provision") as (first, _):

        async def answer(message: Msg) -> None:
            await message.respond(b"key")

        await subscribe(session, subjects.rpc_subject("session", "key_create"), queue="session", callback=answer)
        await session.flush()
        reply = await first.request(subjects.rpc_subject("session", "key_create"), b"", timeout=REFUSAL_WAIT_S)
        assert reply.data == b"key"


async def test_data_survives_kill_9(own_nats_server: NatsFixture) -> None:
    """What was acknowledged is there after the server died without a chance to write."""
    client = await own_nats_server.connect("gateway")
    await JetStreamContext(client).publish("hooks.usage.survivor", b"{}", stream=subjects.STREAM_HOOKS)
    await client.close()
    own_nats_server.kill()
    own_nats_server.start()
    provision = await own_nats_server.connect("provision")
    try:
        info = await JetStreamContext(provision).stream_info(subjects.STREAM_HOOKS)
        assert info.state.messages == 1
    finally:
        await provision.close()


async def test_what_is_acknowledged_is_synced_first(nats_server: NatsFixture) -> None:
    """A kill cannot show it, only a power cut could: so the server is asked what it does."""
    async with httpx.AsyncClient() as client:
        facts = await client.get(f"http://127.0.0.1:{nats_server.server.monitor_port}/jsz?config=true")
    assert facts.json()["config"]["sync_always"] is True


def test_the_configuration_is_closed_to_others(nats_server: NatsFixture) -> None:
    assert nats_server.server.config_file.stat().st_mode & 0o077 == 0
    assert nats_server.password("gateway") not in repr(nats_server)
