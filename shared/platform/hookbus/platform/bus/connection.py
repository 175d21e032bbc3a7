"""How a service reaches the bus."""

import logging
from types import TracebackType
from typing import Any, Final, Protocol

import nats
from faststream.nats import NatsBroker
from faststream.security import SASLPlaintext
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from hookbus.contracts import subjects
from hookbus.platform.settings import ServiceSettings

CONNECT_TIMEOUT_S: Final = 2
RECONNECT_WAIT_S: Final = 1
RECONNECT_ATTEMPTS_UNLIMITED: Final = -1
PING_INTERVAL_S: Final = 10
PINGS_OUTSTANDING_MAX: Final = 2
PENDING_BYTES_MAX: Final = 8 * 1024 * 1024
"""What a connection buffers while the server is away; beyond it a publish fails at once."""


class Loop(Protocol):
    """Something that takes messages between the broker's start and its stop."""

    def start(self) -> None:
        """Begin to take messages; the broker is connected."""
        ...

    async def stop(self) -> None:
        """Finish what was taken, take no more."""
        ...


class Broker(NatsBroker):
    """FastStream's broker, which also runs the pull loops of durable consumers (see ``consumer.py``)."""

    def __init__(self, servers: str, **options: Any) -> None:
        super().__init__(servers, **options)
        self.loops: list[Loop] = []

    async def start(self) -> None:
        """Connect, subscribe, and begin to pull."""
        await super().start()
        for loop in self.loops:
            loop.start()

    async def stop(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Finish the batches and requests under way, then close.

        While the server is away there is nothing to finish, so the connection is only closed.
        """
        for loop in self.loops:
            await loop.stop()
        try:
            await super().stop(exc_type, exc_val, exc_tb)
        except NatsError:
            await self.connection.close()


def create_broker(service: str, settings: ServiceSettings) -> Broker:
    """A broker for one service, not yet connected; it reconnects for ever once it was."""
    return Broker(
        settings.nats_url,
        name=service,
        security=SASLPlaintext(username=settings.nats_user, password=settings.nats_password.get_secret_value()),
        inbox_prefix=subjects.inbox_prefix(settings.nats_user),
        connect_timeout=CONNECT_TIMEOUT_S,
        reconnect_time_wait=RECONNECT_WAIT_S,
        max_reconnect_attempts=RECONNECT_ATTEMPTS_UNLIMITED,
        ping_interval=PING_INTERVAL_S,
        max_outstanding_pings=PINGS_OUTSTANDING_MAX,
        pending_size=PENDING_BYTES_MAX,
        graceful_timeout=settings.drain_timeout_s,
        apply_types=False,
        logger=logging.getLogger("faststream"),
        log_level=logging.DEBUG,
    )


def jetstream(broker: NatsBroker) -> JetStreamContext:
    """The JetStream context of a connected broker, for what FastStream has no word for.

    Raises:
        faststream.exceptions.IncorrectState: the broker is not connected.
    """
    return broker.config.broker_config.connection_state.stream


async def connect_plain(url: str, user: str, password: str) -> Client:
    """A bare nats-py connection, for jobs that run once (provisioning, tests)."""
    return await nats.connect(  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped
        url,
        user=user,
        password=password,
        inbox_prefix=subjects.inbox_prefix(user),
        connect_timeout=CONNECT_TIMEOUT_S,
        allow_reconnect=False,
    )
