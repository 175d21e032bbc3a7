"""Streams, consumers and buckets; roles, schemas and tables."""

import asyncio

from nats.js import JetStreamContext

from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.orders import JobResult, ProvisionOrder
from hookbus.platform import logs
from hookbus.platform.bus.connection import connect_plain
from hookbus.platform.bus.provision import provision
from hookbus.platform.database.migrate import upgrade
from hookbus.platform.database.provision import provision_roles
from hookbus.platform.settings import LogLevel


def run(order: ProvisionOrder) -> JobResult:
    """Bring bus and database to what this version needs.

    Raises:
        Exception: whatever the bus or the database answers; nothing is retried, the start fails with it.
    """
    logs.configure("provision", LogLevel.INFO)
    asyncio.run(_provision(order))
    for migration in order.migrations:
        upgrade(migration.package, order.owner_url, migration.schema_name)
    return JobResult()


async def _provision(order: ProvisionOrder) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(_provision_bus(order))
        group.create_task(provision_roles(order.superuser_url, order.role_passwords))


async def _provision_bus(order: ProvisionOrder) -> None:
    client = await connect_plain(order.nats_url, PROVISION_USER, order.nats_password, order.nats_ca_file)
    try:
        await provision(JetStreamContext(client), order.nats_replicas)
    finally:
        await client.close()
