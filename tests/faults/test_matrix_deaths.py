"""The fault matrix, deaths: any process dies at any point of an event's life, and all invariants hold."""

from collections.abc import Callable, Generator

import pytest
from support.matrix.deaths import all_killed, killed, killed_at, rolling_restart, signer_killed
from support.matrix.points import Point
from support.matrix.row import Fault, play
from support.matrix.stand import SERVICES, Stand, standing

TEST_TIMEOUT_S = 400

pytestmark = [pytest.mark.faults, pytest.mark.timeout(TEST_TIMEOUT_S)]

ROWS = [
    *(killed_at(service, service, point) for service in SERVICES for point in Point),
    *(killed_at("postgres", service, point) for service in SERVICES[1:] for point in Point),
    *(killed_at("nats", service, point) for service in SERVICES for point in Point),
    killed("traces"),
    signer_killed(),
    all_killed("nats", "postgres"),
    all_killed("nats", "postgres", *SERVICES),
    rolling_restart(),
]


@pytest.fixture(scope="module")
def stand() -> Generator[Stand]:
    with standing() as running:
        yield running


@pytest.mark.parametrize("fault", ROWS, ids=lambda fault: fault.name)
async def test_row(stand: Stand, fault: Fault, record_property: Callable[[str, object], None]) -> None:
    figures, findings = await play(stand, fault)
    record_property("row", figures.as_json())
    print(figures)
    assert not findings.broken, str(findings)
