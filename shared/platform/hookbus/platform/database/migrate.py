"""Alembic, driven from code: one history per service, each in its own schema."""

import asyncio
from importlib import resources
from typing import Final

from alembic import command, context
from alembic.config import Config
from sqlalchemy import Connection, pool, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

LOCK_TIMEOUT_MS: Final = 10_000
"""A migration that waits longer for a lock fails rather than queue every query behind itself."""
MIGRATION_LOCK_KEY: Final = 0x686F6F6B
"""Advisory lock: two starting stacks migrate one after the other."""

_URL: Final = "hookbus_url"
_SCHEMA: Final = "hookbus_schema"


def upgrade(package: str, owner_url: str, schema: str) -> None:
    """Bring ``schema`` to the newest revision of ``<package>/migrations``. Blocks; not for a running event loop.

    Args:
        package: the service's import name, ``hookbus.budget``.
        owner_url: ``postgresql://`` address as the owner role.
        schema: the service's schema.
    """
    command.upgrade(_config(package, owner_url, schema), "head")


def downgrade(package: str, owner_url: str, schema: str, revision: str) -> None:
    """Take ``schema`` back to ``revision`` (``base`` for none at all)."""
    command.downgrade(_config(package, owner_url, schema), revision)


def _config(package: str, owner_url: str, schema: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(resources.files(package) / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes[_URL] = owner_url
    config.attributes[_SCHEMA] = schema
    return config


def run_env() -> None:
    """The whole of a service's ``migrations/env.py``."""
    asyncio.run(_run())


async def _run() -> None:
    attributes = context.config.attributes
    url = make_url(attributes[_URL]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(
        url,
        poolclass=pool.NullPool,
        connect_args={"server_settings": {"lock_timeout": str(LOCK_TIMEOUT_MS), "application_name": "hookbus-migrate"}},
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate, str(attributes[_SCHEMA]))
    finally:
        await engine.dispose()


def _migrate(connection: Connection, schema: str) -> None:
    context.configure(connection=connection, version_table_schema=schema, include_schemas=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK_KEY})
        connection.execute(text(f"SET LOCAL search_path = {schema}"))
        context.run_migrations()
