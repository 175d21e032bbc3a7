"""The service's own measurements."""

import time
from collections import Counter as CounterOf
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from hookbus.budget.commands import Answer, Command, Reserve, Reserved
from hookbus.platform.metrics import COUNT_BUCKETS, LATENCY_BUCKETS_S

TRANSACTION_SECONDS: Final = Histogram(
    "hookbus_budget_transaction_seconds", "Time of one ledger transaction, in seconds", buckets=LATENCY_BUCKETS_S
)
TRANSACTION_COMMANDS: Final = Histogram(
    "hookbus_budget_transaction_commands", "Commands that one ledger transaction did", buckets=COUNT_BUCKETS
)
COMMANDS: Final = Counter("hookbus_budget_commands_total", "Commands done, by kind and outcome", ("command", "outcome"))
RESERVATIONS: Final = Counter(
    "hookbus_budget_reservations_total", "Operations asked about, by the code of the answer (ok: granted)", ("code",)
)
HOLDS: Final = Gauge("hookbus_budget_open_holds", "Reservations that are open now")
DRIFT_RATIO: Final = Gauge(
    "hookbus_budget_drift_ratio",
    "Cost as reported over cost as computed, in those of the newest 10,000 ledger rows that have both",
)
DRIFT_RATIO.set(1)


@contextmanager
def transaction(commands: int) -> Generator[None]:
    """Measure one ledger transaction of so many commands."""
    started = time.perf_counter()
    try:
        yield
    finally:
        TRANSACTION_SECONDS.observe(time.perf_counter() - started)
        TRANSACTION_COMMANDS.observe(commands)


def answered(done: Iterable[tuple[Command, Answer]]) -> None:
    """Count what was done."""
    outcomes: CounterOf[tuple[str, str]] = CounterOf()
    codes: CounterOf[str] = CounterOf()
    for command, answer in done:
        outcomes[type(command).__name__.lower(), answer.outcome.value] += 1
        if isinstance(command, Reserve) and isinstance(answer, Reserved):
            codes[answer.code.value] += 1
    for (command_name, outcome), count in outcomes.items():
        COMMANDS.labels(command_name, outcome).inc(count)
    for code, count in codes.items():
        RESERVATIONS.labels(code).inc(count)
