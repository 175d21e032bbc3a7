"""Calendar windows need the world's time zones, also on a machine that holds none of its own."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr, ValidationError

from hookbus.budget.settings import BudgetSettings
from hookbus.budget.windows import Calendar, to_us
from hookbus.contracts.budget import Window


@pytest.fixture
def bare_machine() -> Iterator[None]:
    """No zone data but what is installed with hookbus."""
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(())
    ZoneInfo.clear_cache()
    try:
        yield
    finally:
        zoneinfo.reset_tzpath(before)
        ZoneInfo.clear_cache()


def settings(zone: str) -> BudgetSettings:
    address = SecretStr("postgresql://budget@127.0.0.1/none")
    return BudgetSettings(
        nats_url="nats://127.0.0.1:1",
        nats_user="budget",
        nats_password=SecretStr("unused"),
        http_port=0,
        database_url=address,
        budget_time_zone=zone,
    )


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize(
    ("zone", "offset_h"), [("UTC", 0), ("Asia/Kolkata", 5.5), ("America/New_York", -5), ("Europe/Berlin", 1)]
)
def test_a_zone_is_known_without_the_systems_data(zone: str, offset_h: float) -> None:
    calendar = Calendar(settings(zone).zone)
    start_us, _ = calendar.edges_us(Window.DAY, to_us(datetime(2026, 1, 15, 12, tzinfo=UTC)))
    assert start_us == to_us(datetime(2026, 1, 15, tzinfo=UTC) - timedelta(hours=offset_h))


@pytest.mark.usefixtures("bare_machine")
def test_a_zone_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"budget_time_zone\n.*no such time zone"):
        settings("Nowhere/Land")
