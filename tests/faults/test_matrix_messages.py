"""The fault matrix, messages: twice, out of order, poisonous; and what lies outside of the stack does not answer."""

from collections.abc import Callable, Generator

import pytest
from support.matrix.messages import duplicates_beyond_the_window, out_of_order, poison
from support.matrix.outside import breach_check_black_hole, watched_stand, witness_away
from support.matrix.partitions import cut
from support.matrix.row import Fault
from support.matrix.rows import ROW_TIMEOUT_S, each, hold
from support.matrix.stand import Stand

SHORT_S = 3.0

pytestmark = [pytest.mark.faults, pytest.mark.timeout(ROW_TIMEOUT_S)]


@pytest.fixture(scope="module")
def stand() -> Generator[Stand]:
    with watched_stand() as running:
        yield running


@each(
    everyday=[],
    full=[
        duplicates_beyond_the_window(),
        poison(),
        cut("gateway-nats", back=False, lasts_s=SHORT_S),
        out_of_order(),
        witness_away(lasts_s=6.0),
        breach_check_black_hole(),
    ],
)
async def test_message(stand: Stand, fault: Fault, record_property: Callable[[str, object], None]) -> None:
    await hold(stand, fault, record_property)
