"""Load for the audit log without the bus: events of a usual size, and a log that appends in this process."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from hookbus.audit.entries import Incoming, from_event
from hookbus.audit.log import Log
from hookbus.audit.opened import OpenLog
from hookbus.audit.record import Stream
from hookbus.contracts.events import Event, Kind
from hookbus.platform.database.engine import Database
from support.audit import audit_settings
from support.events import hook_event
from support.servers import NatsFixture, PostgresFixture

AGENTS = 8
TEXT = "x" * 250
"""Makes an event of about 600 bytes."""


def events(count: int) -> list[Event]:
    return [
        hook_event(Kind.POST_TASK, agent_id=f"agent-{n % AGENTS}", session=f"s-{n % 32}", data={"text": TEXT, "n": n})
        for n in range(count)
    ]


def incoming(count: int) -> list[Incoming]:
    return [from_event(Stream.HOOKS, event, event.to_wire()) for event in events(count)]


@asynccontextmanager
async def leading(
    nats: NatsFixture, postgres: PostgresFixture, folder: Path
) -> AsyncGenerator[tuple[OpenLog, Database]]:
    """A log in this process that appends, without the bus."""
    database = Database("audit", audit_settings(nats, postgres, folder))
    log = Log(audit_settings(nats, postgres, folder), database)
    opened = await log.open()
    async with database.raw() as connection:
        reign = asyncio.create_task(opened.sequencer.reign(connection))
        while not opened.sequencer.leads:
            await asyncio.sleep(0.01)
        try:
            yield opened, database
        finally:
            reign.cancel()
            await asyncio.wait((reign,))
    await log.close()
    await database.close()
