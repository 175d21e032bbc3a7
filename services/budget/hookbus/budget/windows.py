"""Calendar windows: where the hour, day, week and month around a moment begin and end, in the configured time zone.

Moments are microseconds since the Unix epoch, UTC. The clock that produces them is the database's.
"""

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
    """Window edges in one time zone. Remembers the last window of each kind, for ledgers ask for it again and again."""

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
        offset = to_datetime(at_us).astimezone(self._zone).utcoffset() or timedelta()
        start = at_us - (at_us + offset // _MICROSECOND) % _US_PER_HOUR
        return start, start + _US_PER_HOUR

    def _day(self, at_us: int) -> tuple[int, int]:
        midnight = self._midnight(at_us)
        return self._us(midnight), self._us(midnight + timedelta(days=1))

    def _week(self, at_us: int) -> tuple[int, int]:
        midnight = self._midnight(at_us)
        monday = midnight - timedelta(days=midnight.weekday())
        return self._us(monday), self._us(monday + timedelta(days=7))

    def _month(self, at_us: int) -> tuple[int, int]:
        first = self._midnight(at_us).replace(day=1)
        following = (
            first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1)
        )
        return self._us(first), self._us(following)

    def _midnight(self, at_us: int) -> datetime:
        local = to_datetime(at_us).astimezone(self._zone)
        return local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)

    def _us(self, wall_clock: datetime) -> int:
        # Of a midnight that a clock change skips or repeats, fold 0 is the first moment of that date.
        return to_us(wall_clock.replace(tzinfo=self._zone, fold=0).astimezone(UTC))
