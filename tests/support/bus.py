"""Brokers for tests: connected as one user, stopped even where the server is gone."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from hookbus.contracts.events import Event
from hookbus.embedded.state import load
from hookbus.platform.bus.connection import Broker, create_broker
from hookbus.platform.settings import ServiceSettings
from support.servers import NatsFixture
from support.stack import StackFixture


def bus_settings(server: NatsFixture, user: str) -> ServiceSettings:
    """Settings with which a service connects to ``server`` as ``user``."""
    return ServiceSettings.model_validate(
        {"nats_url": server.url, "nats_user": user, "nats_password": server.password(user), "http_port": 0}
    )


def new_broker(server: NatsFixture, user: str) -> Broker:
    """A broker on which subscribers can still be declared."""
    return create_broker(user, bus_settings(server, user))


@asynccontextmanager
async def started(*brokers: Broker) -> AsyncGenerator[None]:
    """Every broker connected and consuming within the block."""
    try:
        for broker in brokers:
            await broker.start()
        yield
    finally:
        for broker in brokers:
            await broker.stop()


def bus_settings_of(stack: StackFixture, user: str) -> ServiceSettings:
    """Settings with which ``user`` connects to the bus of a running stack."""
    run = load(stack.layout.run_file)
    assert run is not None
    password = (stack.layout.secrets / f"nats_{user}").read_text().strip()
    url = f"nats://127.0.0.1:{run.ports['nats']}"
    return ServiceSettings.model_validate(
        {"nats_url": url, "nats_user": user, "nats_password": password, "http_port": 0}
    )


async def last_event(server: NatsFixture, stream: str, subject: str) -> Event | None:
    """The last event that ``stream`` holds on ``subject``, or None."""
    client = await server.connect("provision")
    try:
        message = await JetStreamContext(client).get_last_msg(stream, subject)
    except NotFoundError:
        return None
    finally:
        await client.close()
    return Event.model_validate_json(message.data or b"")


async def stored_events(server: NatsFixture, stream: str) -> list[tuple[str, Event]]:
    """Subject and event of each message that ``stream`` holds at this moment, in order."""
    client = await server.connect("provision")
    found: list[tuple[str, Event]] = []
    try:
        context = JetStreamContext(client)
        state = (await context.stream_info(stream)).state
        for seq in range(state.first_seq, state.last_seq + 1):
            try:
                message = await context.get_msg(stream, seq)
            except NotFoundError:  # acknowledged by all and gone
                continue
            found.append((message.subject or "", Event.model_validate_json(message.data or b"")))
    finally:
        await client.close()
    return found
