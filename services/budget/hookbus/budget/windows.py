"""Calendar windows: where the hour, day, week and month around a moment begin and end, in the configured time zone.

Moments are microseconds since the Unix epoch, UTC. The clock that produces them is the database's.
"""

from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from hookbus.contracts.budget import Unit, Window

US_PER_S: Final = 1_000_000
_US_PER_HOUR: Final = 3_600 * US_PER_S
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

KEPT_WINDOWS: Final = (Window.HOUR, Window.DAY, Window.WEEK, Window.MONTH, Window.TOTAL)
"""Every account keeps what was spent in each of these, limit or no limit, so that a limit added later finds it."""
CALENDAR_WINDOWS: Final = KEPT_WINDOWS[:-1]
UNITS: Final = (Unit.TOKENS, Unit.USD)
SLOTS: Final = tuple((window, unit) for window in KEPT_WINDOWS for unit in UNITS)
"""The order of an account's ``starts_us`` and ``spent`` lists."""
SLOT_BY_LIMIT: Final = {slot: index for index, slot in enumerate(SLOTS)}


def to_us(moment: datetime) -> int:
    """Microseconds since the epoch, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def to_datetime(moment_us: int) -> datetime:
    """The inverse of :func:`to_us`."""
    return _EPOCH + timedelta(microseconds=moment_us)


class Calendar:
    """Window edges in one time zone: of each kind, every moment lies in one window, and they follow on one another.
    Remembers the last window of each kind, for ledgers ask for it again and again."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._edges: dict[Window, tuple[int, int]] = {}
        self._compute: dict[Window, Callable[[int], tuple[int, int]]] = {
            Window.HOUR: self._hour,
            Window.DAY: self._day,
            Window.WEEK: self._week,
            Window.MONTH: self._month,
        }

    def edges_us(self, window: Window, at_us: int) -> tuple[int, int]:
        """First moment of the window around ``at_us``, and first moment after it."""
        known = self._edges.get(window)
        if known is None or not known[0] <= at_us < known[1]:
            known = self._compute[window](at_us)
            self._edges[window] = known
        return known

    def end_us(self, window: Window, at_us: int) -> int | None:
        """When a calendar window around ``at_us`` ends; None for windows without an end."""
        return self.edges_us(window, at_us)[1] if window in self._compute else None

    def _hour(self, at_us: int) -> tuple[int, int]:
        start = at_us - (at_us + self._minutes_us(at_us)) % _US_PER_HOUR
        end = start + _US_PER_HOUR
        # A change that moves the minute hands, too, cuts the hour: else it would overlap with the next one.
        return self._change_us(start, at_us) or start, self._change_us(at_us, end - 1) or end

    def _change_us(self, first_us: int, last_us: int) -> int | None:
        """From when on, within an hour, the minute hands stand as at ``last_us``; None where they do all the time."""
        minutes_us = self._minutes_us(last_us)
        if self._minutes_us(first_us) == minutes_us:
            return None
        hour = range(first_us, last_us)
        return first_us + bisect_left(hour, 1, key=lambda at_us: self._minutes_us(at_us) == minutes_us)

    def _minutes_us(self, at_us: int) -> int:
        """What the minute hands are ahead of those of UTC."""
        offset = to_datetime(at_us).astimezone(self._zone).utcoffset() or timedelta()
        return offset // _MICROSECOND % _US_PER_HOUR

    def _day(self, at_us: int) -> tuple[int, int]:
        return self._around(at_us, self._midnight(at_us), lambda day, count: day + timedelta(days=count))

    def _week(self, at_us: int) -> tuple[int, int]:
        midnight = self._midnight(at_us)
        monday = midnight - timedelta(days=midnight.weekday())
        return self._around(at_us, monday, lambda first, count: first + timedelta(days=7 * count))

    def _month(self, at_us: int) -> tuple[int, int]:
        return self._around(at_us, self._midnight(at_us).replace(day=1), _months_later)

    def _around(self, at_us: int, first: datetime, later: Callable[[datetime, int], datetime]) -> tuple[int, int]:
        """The window that begins at midnight of ``first``, or one beside it where a change crosses midnight: clocks
        that are put back show a date again, whose window has ended and begins no second time."""
        while at_us < self._us(first):
            first = later(first, -1)
        while at_us >= (end := self._us(later(first, 1))):
            first = later(first, 1)
        return self._us(first), end

    def _midnight(self, at_us: int) -> datetime:
        local = to_datetime(at_us).astimezone(self._zone)
        return local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)

    def _us(self, wall_clock: datetime) -> int:
        # Of a midnight that a clock change skips or repeats, fold 0 is the first moment of that date.
        return to_us(wall_clock.replace(tzinfo=self._zone, fold=0).astimezone(UTC))


def _months_later(first: datetime, count: int) -> datetime:
    months = first.year * 12 + first.month - 1 + count
    return first.replace(year=months // 12, month=months % 12 + 1)
