"""Windows begin and end where the calendar says, in any time zone, at any clock change."""

from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.budget.accounts import Account, AccountConfig, LimitRule
from hookbus.budget.windows import CALENDAR_WINDOWS, SLOT_BY_LIMIT, US_PER_S, Calendar, to_datetime, to_us
from hookbus.contracts.budget import ScopeKind, Unit, Window

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Cairo")
CHANGES_SINCE, CHANGES_UNTIL = 2000, 2031
CHANGES_APART_S = 14 * 86_400
"""Less than the clocks of any zone stay as they are."""
CHANGES_MIN = 2_000
AROUND_US = 2 * 3_600 * US_PER_S
HOUR_TOKENS = SLOT_BY_LIMIT[Window.HOUR, Unit.TOKENS]
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone is given


def account() -> Account:
    rule = LimitRule(Unit.TOKENS, Window.HOUR, 100)
    return Account(AccountConfig(7, ScopeKind.AGENT, "a", None, 1, (rule,)))


@given(moments, st.sampled_from(ZONES), st.sampled_from(CALENDAR_WINDOWS))
def test_a_window_holds_its_moment_and_the_next_one_begins_where_it_ends(
    moment: datetime, zone: str, window: Window
) -> None:
    calendar, at_us = Calendar(ZoneInfo(zone)), to_us(moment)
    start, end = calendar.edges_us(window, at_us)
    assert start <= at_us < end
    assert calendar.edges_us(window, start) == (start, end)
    assert calendar.edges_us(window, end - 1) == (start, end)
    assert calendar.edges_us(window, end)[0] == end


@pytest.fixture(scope="module")
def changes() -> list[tuple[ZoneInfo, int]]:
    """Every change of the clocks in every zone, once where zones share their clocks: zone and first moment after."""
    begin, end = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (CHANGES_SINCE, CHANGES_UNTIL))
    found: dict[tuple[int, ...], ZoneInfo] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)

        def offset(at_s: int, zone: ZoneInfo = zone) -> timedelta | None:
            return datetime.fromtimestamp(at_s, zone).utcoffset()

        looked_s = range(begin, end, CHANGES_APART_S)
        offsets = [offset(at_s) for at_s in looked_s]
        spans = [
            (range(*span_s), after)
            for span_s, (before, after) in zip(pairwise(looked_s), pairwise(offsets), strict=True)
            if before != after
        ]
        moments = [
            span[0] + bisect_left(span, 1, key=lambda at_s, after=after: offset(at_s) == after) for span, after in spans
        ]
        found.setdefault(tuple(moments), zone)
    return [(zone, moment * US_PER_S) for moments, zone in found.items() for moment in moments]


@pytest.mark.parametrize("window", CALENDAR_WINDOWS)
def test_around_every_change_of_the_clocks_the_windows_share_all_time_between_them(
    changes: list[tuple[ZoneInfo, int]], window: Window
) -> None:
    """Of every zone: the next begins where one ends, and each moment in between is told to be in that very window."""
    assert len(changes) > CHANGES_MIN
    for zone, change_us in changes:
        which = zone, to_datetime(change_us)
        edge = Calendar(zone).edges_us(window, change_us - AROUND_US)[0]
        while edge <= change_us + AROUND_US:
            start, end = Calendar(zone).edges_us(window, edge)
            assert start == edge < end, which
            within = {at_us for at_us in (change_us - 1, change_us, end - 1) if start <= at_us < end}
            assert {Calendar(zone).edges_us(window, at_us) for at_us in within} == {(start, end)}, which
            edge = end


def test_clocks_that_change_by_half_an_hour_cut_the_hour_and_what_was_spent_in_it_is_counted_once() -> None:
    """Lord Howe, put back from 2:00 to 1:30: what was spent before is of the window that ended there."""
    calendar, change = Calendar(ZoneInfo("Australia/Lord_Howe")), datetime(2026, 4, 4, 15, tzinfo=UTC)
    hours = [
        calendar.edges_us(Window.HOUR, to_us(change + timedelta(minutes=minutes))) for minutes in (-10, 15, 45, 105)
    ]
    starts = [change + timedelta(minutes=minutes) for minutes in (-60, 0, 30, 90, 150)]
    assert hours == [(to_us(start), to_us(end)) for start, end in pairwise(starts)]


@given(moments)
def test_microseconds_are_exact_both_ways(moment: datetime) -> None:
    assert to_datetime(to_us(moment)) == moment


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        (Window.HOUR, "2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        (Window.DAY, "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        (Window.WEEK, "2026-03-23T00:00:00+01:00", "2026-03-30T00:00:00+02:00"),
        (Window.MONTH, "2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00"),
    ],
)
def test_windows_around_a_clock_change_in_berlin(window: Window, start: str, end: str) -> None:
    at_us = to_us(datetime.fromisoformat("2026-03-29T01:59:59+01:00").astimezone(UTC))
    edges = Calendar(ZoneInfo("Europe/Berlin")).edges_us(window, at_us)
    assert edges == tuple(to_us(datetime.fromisoformat(text).astimezone(UTC)) for text in (start, end))


def test_a_total_never_ends() -> None:
    assert Calendar(ZoneInfo("UTC")).end_us(Window.TOTAL, 0) is None


def test_an_edge_opens_its_window_once_and_a_clock_that_steps_back_opens_none() -> None:
    calendar, edge = Calendar(ZoneInfo("UTC")), to_us(datetime(2026, 1, 1, 12, tzinfo=UTC))
    balance = account()
    balance.roll(calendar, edge - 1)
    balance.spend((40, 0), edge - 1)
    balance.roll(calendar, edge)
    assert balance.spent[HOUR_TOKENS] == 0
    balance.spend((5, 0), edge)
    balance.roll(calendar, edge + 1)
    fresh = Account(balance.config, starts_us=list(balance.starts_us), spent=list(balance.spent))
    fresh.roll(calendar, edge - 1)
    fresh.roll(calendar, edge + 2)
    assert fresh.spent[HOUR_TOKENS] == balance.spent[HOUR_TOKENS] == 5


def test_a_reset_lasts_until_the_next_window_and_what_came_before_it_stays_out() -> None:
    calendar, noon = Calendar(ZoneInfo("UTC")), to_us(datetime(2026, 1, 1, 12, tzinfo=UTC))
    balance = account()
    balance.roll(calendar, noon)
    balance.spend((40, 0), noon)
    balance.reset(noon + 10, Unit.TOKENS, Window.HOUR)
    balance.spend((7, 0), noon + 5)
    balance.spend((3, 0), noon + 10)
    balance.roll(calendar, noon + 20)
    assert balance.spent[HOUR_TOKENS] == 3
    assert balance.spent[SLOT_BY_LIMIT[Window.DAY, Unit.TOKENS]] == 50
    balance.roll(calendar, noon + int(timedelta(hours=1).total_seconds() * 1e6))
    assert balance.spent[HOUR_TOKENS] == 0
