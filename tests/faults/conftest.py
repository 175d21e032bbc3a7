"""The fixtures of these tests, the seed of the run, and the table of what its rows saw."""

import json
import os
import random

import pytest
from support.fixtures import nats_server, own_nats_server, own_postgres_server, own_stack, postgres_server, stack
from support.matrix.report import table
from support.matrix.row import SEED_VARIABLE

__all__ = ["nats_server", "own_nats_server", "own_postgres_server", "own_stack", "postgres_server", "stack"]


def pytest_configure() -> None:
    """One seed for all processes of the run: the workers inherit the environment."""
    os.environ.setdefault(SEED_VARIABLE, str(random.SystemRandom().randrange(10**8)))


def pytest_report_header() -> str:
    return f"fault seed: {SEED_VARIABLE}={os.environ[SEED_VARIABLE]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What each row saw, whether it passed or not."""
    reports = [one for name in ("passed", "failed") for one in terminalreporter.getreports(name)]
    rows = [json.loads(str(value)) for one in reports for name, value in one.user_properties if name == "row"]
    if rows:
        terminalreporter.section(f"fault matrix, seed {os.environ[SEED_VARIABLE]}")
        for line in table(rows):
            terminalreporter.write_line(line)
