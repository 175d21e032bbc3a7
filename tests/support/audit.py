"""The audit service on a database and a bus of its own, and an attacker who is the database's superuser."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from hookbus.audit.app import build
from hookbus.audit.repository.leading import Connection
from hookbus.audit.settings import AuditSettings, prepare_secrets
from hookbus.contracts import audit as wire
from hookbus.contracts import subjects
from hookbus.contracts.events import Event
from hookbus.contracts.problems import ProblemError
from hookbus.platform.bus.connection import Broker
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.database.migrate import downgrade, upgrade
from hookbus.platform.service import running
from support.bus import new_broker
from support.servers import NatsFixture, PostgresFixture

WAIT_S = 60.0
PUBLISHES_UNDER_WAY_MAX = 64
ROTATE_TIMEOUT_S = 10.0


def audit_settings(nats: NatsFixture, postgres: PostgresFixture, folder: Path, **more: object) -> AuditSettings:
    settings = AuditSettings.model_validate(
        {
            "nats_url": nats.url,
            "nats_user": "audit",
            "nats_password": nats.password("audit"),
            "http_port": 0,
            "database_url": postgres.database_url("audit"),
            "audit_signing_key_file": folder / "signing.pem",
            "audit_passphrase_file": folder / "passphrase",
            "audit_keys_file": folder / "keys.sqlite",
            **more,
        }
    )
    prepare_secrets(settings)
    return settings


async def fresh_schema(postgres: PostgresFixture) -> None:
    """An empty log: the schema, where there is one, taken down and made anew."""
    await asyncio.to_thread(downgrade, "hookbus.audit", postgres.owner_url, "audit", "base")
    await asyncio.to_thread(upgrade, "hookbus.audit", postgres.owner_url, "audit")


@dataclass
class AuditStack:
    """A running audit service, a gateway's connection to it, and the superuser."""

    nats: NatsFixture
    postgres: PostgresFixture
    settings: AuditSettings
    gateway: Broker
    superuser: Connection

    @property
    def rpc(self) -> RpcClient:
        return RpcClient(self.gateway)

    async def publish(self, events: Sequence[Event]) -> None:
        """In this order, many under way at once."""
        publisher = Publisher(self.gateway)
        for first in range(0, len(events), PUBLISHES_UNDER_WAY_MAX):
            chunk = events[first : first + PUBLISHES_UNDER_WAY_MAX]
            await asyncio.gather(*(publisher.publish(event, _subject(event)) for event in chunk))

    async def published(self, events: Sequence[Event]) -> None:
        """Publish, and wait until the log holds all of them."""
        await self.publish(events)
        await self.stored([event.id for event in events])

    async def stored(self, event_ids: Sequence[str], wait_s: float = WAIT_S) -> None:
        async with asyncio.timeout(wait_s):
            while True:
                count = await self.superuser.fetchval(
                    "SELECT count(DISTINCT event_id) FROM audit.stored_events WHERE event_id = ANY($1)", list(event_ids)
                )
                if count == len(set(event_ids)):
                    return
                await asyncio.sleep(0.02)

    async def size(self) -> int:
        return int(await self.superuser.fetchval("SELECT size FROM audit.log_state"))

    async def signed(self) -> wire.CheckpointReply:
        """The newest checkpoint, once it covers everything in the log."""
        size = await self.size()
        async with asyncio.timeout(WAIT_S):
            while True:
                note = await self.superuser.fetchval("SELECT latest_note FROM audit.log_state")
                if note is not None and int(note.split("\n")[1]) >= size:
                    break
                await asyncio.sleep(0.05)
        return await self.rpc.call("audit", "checkpoint", wire.CheckpointRequest(), wire.CheckpointReply)

    async def rotate_signing(self) -> wire.RotateSigningReply:
        """Hand over to a new signing key."""
        return await self.rpc.call(
            "audit", "rotate_signing", wire.RotateRequest(), wire.RotateSigningReply, timeout_s=ROTATE_TIMEOUT_S
        )

    async def verify(self, *, decrypt: bool = True, checkpoint: str | None = None) -> wire.VerifyReply:
        return await self.rpc.call(
            "audit",
            "verify",
            wire.VerifyRequest(decrypt=decrypt, checkpoint=checkpoint),
            wire.VerifyReply,
            timeout_s=60.0,
        )


def _subject(event: Event) -> str:
    if event.kind is not None:
        return subjects.hook_subject(event.kind, event.subject)
    assert event.security_code is not None
    return subjects.security_subject(event.security_code)


@asynccontextmanager
async def bystander(nats: NatsFixture, postgres: PostgresFixture, folder: Path) -> AsyncGenerator[AuditStack]:
    """The same view on a service that runs in processes of its own."""
    settings = audit_settings(nats, postgres, folder)
    gateway = new_broker(nats, "gateway")
    await gateway.connect()
    superuser = await asyncpg.connect(postgres.superuser_url)
    try:
        yield AuditStack(nats, postgres, settings, gateway, superuser)
    finally:
        await superuser.close()
        await gateway.stop()


@asynccontextmanager
async def audit_stack(
    nats: NatsFixture, postgres: PostgresFixture, folder: Path, **more: object
) -> AsyncGenerator[AuditStack]:
    """The service in this process, on the schema as it is; ``more`` are settings."""
    settings = audit_settings(nats, postgres, folder, **more)
    gateway = new_broker(nats, "gateway")
    await gateway.connect()
    superuser = await asyncpg.connect(postgres.superuser_url)
    try:
        async with running(build(settings)):
            stack = AuditStack(nats, postgres, settings, gateway, superuser)
            await _answers(stack)
            yield stack
    finally:
        await superuser.close()
        await gateway.stop()


async def _answers(stack: AuditStack) -> None:
    """Wait until the service leads and has signed its first checkpoint."""
    async with asyncio.timeout(WAIT_S):
        while True:
            with suppress(ProblemError):
                await stack.rpc.call("audit", "checkpoint", wire.CheckpointRequest(), wire.CheckpointReply)
                return
            await asyncio.sleep(0.02)
