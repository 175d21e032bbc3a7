"""How a service reaches the bus."""

import logging
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol

import nats
from faststream.exceptions import IncorrectState
from faststream.nats import NatsBroker
from faststream.nats.security import NatsUserPassword
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

    def __init__(self, servers: list[str], **options: Any) -> None:
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
        addresses(settings.nats_url),
        name=service,
        security=NatsUserPassword(
            settings.nats_user,
            settings.nats_password.get_secret_value(),
            ssl_context=trusting(settings.nats_ca_file),
            tls_handshake_first=settings.nats_ca_file is not None,
        ),
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


def is_connected(broker: NatsBroker) -> bool:
    """Whether the server is there at this moment: not yet before the first connection."""
    try:
        return broker.connection.is_connected
    except IncorrectState:
        return False


def jetstream(broker: NatsBroker) -> JetStreamContext:
    """The JetStream context of a connected broker, for what FastStream has no word for.

    Raises:
        faststream.exceptions.IncorrectState: the broker is not connected.
    """
    return broker.config.broker_config.connection_state.stream


def addresses(nats_url: str) -> list[str]:
    """The servers that a setting names, in its order."""
    return [address.strip() for address in nats_url.split(",")]


def trusting(ca_file: Path | None) -> ssl.SSLContext | None:
    """What certificates are checked against: this authority and no other; None: connections are plain.

    Whoever has it must also shake hands before anything is said: nats-py would go on in plain text with a server, or
    with somebody between, who says that no TLS is asked for.
    """
    return None if ca_file is None else ssl.create_default_context(cafile=ca_file)


async def connect_plain(url: str, user: str, password: str, ca_file: Path | None = None) -> Client:
    """A bare nats-py connection, for jobs that run once (provisioning, tests)."""
    return await nats.connect(  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped
        addresses(url),
        tls=trusting(ca_file),
        tls_handshake_first=ca_file is not None,
        user=user,
        password=password,
        inbox_prefix=subjects.inbox_prefix(user),
        connect_timeout=CONNECT_TIMEOUT_S,
        allow_reconnect=False,
    )
