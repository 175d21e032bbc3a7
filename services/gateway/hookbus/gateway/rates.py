"""Rate limits per API key, per agent and per failing address, counted in bounded memory.

The limits and their strategy are those of the ``limits`` library; the storage is its interface over one bounded map,
because its own in-memory storage grows with the number of keys, and whoever invents addresses chooses that number.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from limits import RateLimitItem, parse
from limits.storage.base import Storage
from limits.strategies import FixedWindowRateLimiter

from hookbus.gateway.problems import RateLimitedError

COUNTERS_MAX: Final = 100_000
"""Counters held at once; the least recently used leaves first."""


def parse_rate(text: str) -> RateLimitItem:
    """``"100/minute"`` as a limit; raises :class:`ValueError` when it is not one."""
    return parse(text)


class BoundedStorage(Storage):
    """Fixed-window counters in an LRU map of at most :data:`COUNTERS_MAX` entries."""

    STORAGE_SCHEME = None

    def __init__(self, clock: Callable[[], float] = time.time, counters_max: int = COUNTERS_MAX) -> None:
        super().__init__()
        self._clock = clock
        self._counters_max = counters_max
        self._counters: OrderedDict[str, tuple[int, float]] = OrderedDict()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What this storage may raise."""
        return ValueError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, and begin a new window where the last one is over."""
        now = self._clock()
        count, ends_at = self._counters.get(key, (0, 0.0))
        if ends_at <= now:
            count, ends_at = 0, now + expiry
        self._counters[key] = (count + amount, ends_at)
        self._counters.move_to_end(key)
        if len(self._counters) > self._counters_max:
            self._counters.popitem(last=False)
        return count + amount

    def get(self, key: str) -> int:
        """The count of the window that runs."""
        count, ends_at = self._counters.get(key, (0, 0.0))
        return count if ends_at > self._clock() else 0

    def get_expiry(self, key: str) -> float:
        """When the window ends, in seconds since the epoch."""
        return self._counters.get(key, (0, self._clock()))[1]

    def check(self) -> bool:
        """A map in this process is always there."""
        return True

    def reset(self) -> int | None:
        """Forget everything."""
        count = len(self._counters)
        self._counters.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget one counter."""
        self._counters.pop(key, None)


class Limiter:
    """One kind of limit, counted for each subject (a key, an agent, an address) on its own."""

    def __init__(
        self, rate: str, what: str, *, clock: Callable[[], float] = time.time, counters_max: int = COUNTERS_MAX
    ) -> None:
        self._item = parse_rate(rate)
        self._what = what
        self._clock = clock
        self._limiter = FixedWindowRateLimiter(BoundedStorage(clock, counters_max))

    def hit(self, *subject: str, cost: int = 1) -> None:
        """Count ``cost`` for ``subject``; raises :class:`RateLimitedError` beyond the limit."""
        if not self._limiter.hit(self._item, *subject, cost=cost):
            self._refuse(subject)

    def check(self, *subject: str) -> None:
        """Raise :class:`RateLimitedError` where ``subject`` has no attempt left, without counting."""
        if not self._limiter.test(self._item, *subject):
            self._refuse(subject)

    def count(self, *subject: str) -> None:
        """Count one without judging."""
        self._limiter.hit(self._item, *subject)

    def _refuse(self, subject: tuple[str, ...]) -> None:
        stats = self._limiter.get_window_stats(self._item, *subject)
        raise RateLimitedError(
            f"over the limit of {self._item.amount} in {self._item.get_expiry()} s for {self._what}",
            limit=self._item.amount,
            remaining=stats.remaining,
            reset_s=stats.reset_time - self._clock(),
        )
