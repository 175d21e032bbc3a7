"""The service's own measurements."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache

from opentelemetry.metrics import Counter, Histogram

from hookbus.platform import telemetry


@lru_cache(maxsize=1)
def _instruments() -> tuple[Histogram, Counter]:
    meter = telemetry.meter()
    return (
        meter.create_histogram("hookbus_budget_transaction", unit="s", description="One ledger transaction"),
        meter.create_counter("hookbus_budget_commands", description="Commands done by ledger transactions"),
    )


@contextmanager
def transaction(commands: int) -> Generator[None]:
    """Measure one ledger transaction of so many commands."""
    duration, done = _instruments()
    started = time.perf_counter()
    try:
        yield
    finally:
        duration.record(time.perf_counter() - started)
        done.add(commands)
