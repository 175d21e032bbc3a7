"""The fault matrix, shortages: processes that hang, connections and locks taken, clocks that are wrong, full disks."""

from collections.abc import Callable, Generator

import pytest
from support.faults import FULL
from support.matrix.clocks import clock_off
from support.matrix.hangs import leader_stopped, stopped_for_good
from support.matrix.row import Fault
from support.matrix.rows import ROW_TIMEOUT_S, each, hold
from support.matrix.shortages import connections_exhausted, disk_full, small_disks, tables_locked
from support.matrix.stand import SERVICES, Stand, standing

STOPPED_S = 60.0
DISK_MEGABYTES = {"nats": 96, "postgres": 400}

pytestmark = [pytest.mark.faults, pytest.mark.timeout(ROW_TIMEOUT_S)]


@pytest.fixture(scope="module")
def stand() -> Generator[Stand]:
    with standing() as running:
        yield running


@pytest.fixture(scope="module")
def small_stand() -> Generator[Stand]:
    """A stack whose servers have small disks of their own."""
    with standing(before=small_disks(**DISK_MEGABYTES)) as running:
        yield running


@each(
    everyday=[],
    full=[
        leader_stopped(STOPPED_S),
        *(stopped_for_good(name) for name in ("gateway", "audit", "nats")),
        connections_exhausted(lasts_s=5.0),
        tables_locked(lasts_s=8.0),
        *(clock_off(service) for service in SERVICES),
    ],
)
async def test_shortage(stand: Stand, fault: Fault, record_property: Callable[[str, object], None]) -> None:
    await hold(stand, fault, record_property)


@pytest.mark.skipif(not FULL, reason="only under make faults")
@pytest.mark.parametrize("fault", [disk_full(name, lasts_s=6.0) for name in DISK_MEGABYTES], ids=lambda row: row.name)
async def test_disk(small_stand: Stand, fault: Fault, record_property: Callable[[str, object], None]) -> None:
    await hold(small_stand, fault, record_property)
