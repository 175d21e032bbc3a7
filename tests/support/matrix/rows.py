"""Rows as parameters of a test: a few in every run, all of them under ``make faults``."""

from collections.abc import Callable, Sequence

import pytest

from support.faults import FULL
from support.matrix.row import Fault, play
from support.matrix.stand import Stand

ROW_TIMEOUT_S = 400
"""Starting the stack, waiting for it to be whole, and the recount, on a machine that does much else."""


def each(everyday: Sequence[Fault], full: Sequence[Fault] = ()) -> pytest.MarkDecorator:
    """The test once for each row."""
    rows = [*everyday, *full] if FULL else everyday
    return pytest.mark.parametrize("fault", rows, ids=[fault.name for fault in rows])


async def hold(stand: Stand, fault: Fault, record_property: Callable[[str, object], None]) -> None:
    """Play a row, note its figures, fail where an invariant is broken."""
    figures, findings = await play(stand, fault)
    record_property("row", figures.as_json())
    print(figures)  # noqa: T201 - what a failing run is repeated with
    assert not findings.broken, str(findings)
