"""Measuring: rates and latencies of the same work against a reference, taken in turns within one run."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """What one round gave."""

    rate_per_s: float
    p50_ms: float
    p99_ms: float


def percentile_ms(latencies_s: Sequence[float], share: float) -> float:
    """The latency that ``share`` of the calls did not exceed."""
    ordered = sorted(latencies_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1_000


async def closed_loop(clients: int, calls: int, call: Callable[[int], Awaitable[object]]) -> Sample:
    """``calls`` calls from ``clients`` clients, each waiting for its answer before it calls again."""
    latencies_s: list[float] = []
    numbers = iter(range(calls))

    async def client() -> None:
        for number in numbers:
            begin_s = time.perf_counter()
            await call(number)
            latencies_s.append(time.perf_counter() - begin_s)

    begin_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    elapsed_s = time.perf_counter() - begin_s
    return Sample(calls / elapsed_s, percentile_ms(latencies_s, 0.5), percentile_ms(latencies_s, 0.99))


async def paced(clients: int, calls: int, rate_per_s: float, call: Callable[[int], Awaitable[object]]) -> Sample:
    """``calls`` calls from ``clients`` clients that begin at their own moments, ``rate_per_s`` in all, whether or not
    earlier ones are answered. A latency is counted from the moment the call was due, so that a stall is not hidden by
    the calls that waited for it."""
    latencies_s: list[float] = []
    begin_s = time.perf_counter()

    async def client(first: int) -> None:
        for number in range(first, calls, clients):
            due_s = begin_s + number / rate_per_s
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            await call(number)
            latencies_s.append(time.perf_counter() - due_s)

    await asyncio.gather(*(client(first) for first in range(clients)))
    elapsed_s = time.perf_counter() - begin_s
    return Sample(calls / elapsed_s, percentile_ms(latencies_s, 0.5), percentile_ms(latencies_s, 0.99))


def median_of(samples: Sequence[Sample]) -> Sample:
    """Each figure's median: one noisy round does not decide."""
    return Sample(
        statistics.median(sample.rate_per_s for sample in samples),
        statistics.median(sample.p50_ms for sample in samples),
        statistics.median(sample.p99_ms for sample in samples),
    )


def print_row(name: str, *cells: str) -> None:
    """One row of a Markdown table, for ``docs/performance.md``."""
    print(f"| {name} | {' | '.join(cells)} |")  # noqa: T201 - the bench's product is what it prints
