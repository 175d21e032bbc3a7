"""Alembic's entry; the work is shared by all services."""

from hookbus.platform.database.migrate import run_env

run_env()
