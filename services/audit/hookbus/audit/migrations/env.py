"""Alembic's entry: the platform runs the revisions."""

from hookbus.platform.database.migrate import run_env

run_env()
