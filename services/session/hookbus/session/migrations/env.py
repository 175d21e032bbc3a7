"""Alembic's entry: the platform runs it."""

from hookbus.platform.database.migrate import run_env

run_env()
