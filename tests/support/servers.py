"""Real nats-server and PostgreSQL on free ports in a temporary folder."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import nats as nats_client
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from sqlalchemy import make_url

from hookbus.contracts.subjects import inbox_prefix
from hookbus.embedded import nats, postgres
from hookbus.embedded.files import generate_password
from hookbus.embedded.ports import free_ports
from hookbus.embedded.probes import wait_until
from hookbus.embedded.processes import ManagedProcess
from hookbus.platform.bus.connection import CONNECT_TIMEOUT_S
from hookbus.platform.bus.provision import provision as provision_bus
from hookbus.platform.database.provision import OWNER, provision_roles, service_role

RESTART_TIMEOUT_S = 15


class StartError(Exception):
    """A server did not come up; the text is the end of its log."""


@dataclass
class NatsFixture:
    """A running nats-server with every user of the stack. ``stop`` and ``start`` keep its data and its port."""

    server: nats.NatsServer
    process: ManagedProcess

    @classmethod
    def launch(cls, folder: Path) -> "NatsFixture":
        port, monitor_port = free_ports(2)
        folder.mkdir(parents=True, exist_ok=True)
        server = nats.prepare(
            folder / "nats", folder / "nats.log", folder / "secrets", port=port, monitor_port=monitor_port
        )
        fixture = cls(server, ManagedProcess(server.spec()))
        fixture.start()
        return fixture

    @property
    def url(self) -> str:
        return self.server.url

    def password(self, user: str) -> str:
        return self.server.passwords[user]

    def environment(self, user: str) -> dict[str, str]:
        """The bus settings of a service that runs as ``user``."""
        return {
            "HOOKBUS_NATS_URL": self.url,
            "HOOKBUS_NATS_USER": user,
            "HOOKBUS_NATS_PASSWORD": self.password(user),
        }

    async def connect(self, user: str, *, on_error: Callable[[Exception], Awaitable[None]] | None = None) -> Client:
        """A plain client connected as ``user``; the caller closes it."""
        return await nats_client.connect(  # pyright: ignore[reportUnknownMemberType]  # its options are untyped
            self.url,
            user=user,
            password=self.password(user),
            inbox_prefix=inbox_prefix(user),
            connect_timeout=CONNECT_TIMEOUT_S,
            allow_reconnect=False,
            error_cb=on_error,
        )

    async def provision(self) -> None:
        """Streams, consumers and buckets as the stack has them."""
        client = await self.connect("provision")
        try:
            await provision_bus(JetStreamContext(client))
        finally:
            await client.close()

    def start(self) -> None:
        self.process.start()
        if not wait_until(self.server.is_ready, timeout_s=nats.READY_TIMEOUT_S, interval_s=0.01):
            raise StartError(self.process.log_tail())

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()


@dataclass
class PostgresFixture:
    """A running PostgreSQL with the database ``hookbus`` and the roles of the stack."""

    server: postgres.PostgresServer
    process: ManagedProcess
    passwords: dict[str, str]

    @classmethod
    def launch(cls, folder: Path) -> "PostgresFixture":
        (port,) = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        server = postgres.prepare(folder / "postgres", folder / "postgres.log", folder / "secrets", port=port)
        passwords = {role: generate_password() for role in postgres.ROLES}
        fixture = cls(server, ManagedProcess(server.spec()), passwords)
        fixture.start()
        return fixture

    @property
    def superuser_url(self) -> str:
        """The superuser's address of the database ``hookbus``."""
        return self.server.url()

    @property
    def owner_url(self) -> str:
        """The address of the role that owns the schemas and runs the migrations."""
        return self.role_url(OWNER)

    def role_url(self, role: str) -> str:
        """The address of one login role, for example ``hookbus_budget``."""
        return self.server.role_url(role, self.passwords[role])

    def database_url(self, service: str) -> str:
        """The address a service is given: its own role."""
        return self.role_url(service_role(service))

    async def provision(self) -> None:
        """The database, its schemas and roles as the stack has them, without tables."""
        await provision_roles(self.server.url(postgres.MAINTENANCE_DATABASE), self.passwords)

    def start(self) -> None:
        self.process.start()
        if not wait_until(self.server.is_ready, timeout_s=postgres.READY_TIMEOUT_S, interval_s=0.02):
            raise StartError(self.process.log_tail())

    def restart_after_death(self) -> None:
        """Start again after a kill; a start that meets what the dead one left behind is repeated."""
        wait_until(lambda: not self.process.is_running, timeout_s=RESTART_TIMEOUT_S)

        def comes_up() -> bool:
            if not self.process.is_running:
                self.process.start()
            return self.server.is_ready()

        if not wait_until(comes_up, timeout_s=RESTART_TIMEOUT_S, interval_s=0.1):
            raise StartError(self.process.log_tail())

    def stop(self) -> None:
        self.process.stop()

    def kill(self) -> None:
        """SIGKILL to the postmaster, and wait until it is gone."""
        self.process.kill()


async def subscribe(
    client: Client, subject: str, *, queue: str = "", callback: Callable[[Msg], Awaitable[None]] | None = None
) -> None:
    """A core subscription."""
    await client.subscribe(subject, queue=queue, cb=callback)  # pyright: ignore[reportUnknownMemberType]  # a bare Future


def without_password(url: str) -> str:
    """An address fit to print."""
    return make_url(url).render_as_string(hide_password=True)
