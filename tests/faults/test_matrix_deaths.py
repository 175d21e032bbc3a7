"""The fault matrix, deaths: any process dies at any point of an event's life, and all invariants hold."""

from collections.abc import Callable, Generator

import pytest
from support.matrix.deaths import all_killed, killed, killed_at, rolling_restart, signer_killed
from support.matrix.points import Point
from support.matrix.row import Fault
from support.matrix.rows import ROW_TIMEOUT_S, each, hold
from support.matrix.stand import SERVICES, Stand, standing

pytestmark = [pytest.mark.faults, pytest.mark.timeout(ROW_TIMEOUT_S)]


@pytest.fixture(scope="module")
def stand() -> Generator[Stand]:
    with standing() as running:
        yield running


@each(
    everyday=[
        killed_at("audit", "audit", Point.AFTER_COMMIT),
        killed_at("postgres", "budget", Point.BEFORE_COMMIT),
    ],
    full=[
        *(
            killed_at(service, service, point)
            for service in SERVICES
            for point in Point
            if (service, point) != ("audit", Point.AFTER_COMMIT)
        ),
        killed_at("postgres", "audit", Point.BEFORE_COMMIT),
        killed_at("postgres", "session", Point.AFTER_COMMIT),
        killed_at("postgres", "audit", Point.AFTER_ACK),
        *(killed_at("nats", "gateway", point) for point in Point),
        killed_at("nats", "audit", Point.BEFORE_COMMIT),
        killed_at("nats", "budget", Point.AFTER_COMMIT),
        killed("traces"),
        signer_killed(),
        all_killed("nats", "postgres"),
        all_killed("nats", "postgres", *SERVICES),
        rolling_restart(),
    ],
)
async def test_death(stand: Stand, fault: Fault, record_property: Callable[[str, object], None]) -> None:
    await hold(stand, fault, record_property)
