"""The fault matrix, the network: each connection cut, both ways and one way; a slow database; a gateway alone."""

from collections.abc import Callable, Generator

import pytest
from support.matrix.partitions import cut, gateway_started_alone, slow
from support.matrix.row import Fault
from support.matrix.rows import ROW_TIMEOUT_S, each, hold
from support.matrix.stand import LINKS, Stand, standing

SHORT_S = 3.0
LONG_S = 35.0
"""Longer than a client of the bus takes to find out that nobody answers (20 to 30 s)."""
SLOW_BY_S = 2.0
SLOW_FOR_S = 10.0

pytestmark = [pytest.mark.faults, pytest.mark.timeout(ROW_TIMEOUT_S)]


@pytest.fixture(scope="module")
def stand() -> Generator[Stand]:
    with standing() as running:
        yield running


@each(
    everyday=[],
    full=[
        *(cut(link, lasts_s=SHORT_S) for link in LINKS),
        *(cut(link, back=False, lasts_s=SHORT_S) for link in LINKS if link != "gateway-nats"),
        *(cut(link, forth=False, lasts_s=SHORT_S) for link in LINKS),
        cut("gateway-nats", forth=False, lasts_s=LONG_S),
        cut("audit-postgres", lasts_s=LONG_S),
        slow("postgres", SLOW_BY_S, SLOW_FOR_S),
        gateway_started_alone(),
    ],
)
async def test_network(stand: Stand, fault: Fault, record_property: Callable[[str, object], None]) -> None:
    await hold(stand, fault, record_property)
