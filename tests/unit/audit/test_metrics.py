"""Gauges of the log say nothing, and no comforting number, where no process of it appends here."""

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from hookbus.audit import metrics
from hookbus.audit.log import Log
from hookbus.contracts.problems import ProblemCode, ProblemError

GAUGES = (
    "hookbus_audit_log_entries",
    "hookbus_audit_checkpoint_age_seconds",
    "hookbus_audit_unsigned_entries",
    "hookbus_audit_anchor_lag_entries",
    "hookbus_audit_anchor_age_seconds",
    "hookbus_audit_witness_lag_entries",
    "hookbus_audit_signer_refuses",
)


class _NeverOpened:
    """A log whose database was not reached, or whose signer refused it at once."""

    @property
    def opened(self) -> Any:
        raise ProblemError(ProblemCode.UNAVAILABLE, "the audit log is not open yet")


class _StandingBy:
    """A log that another process appends to."""

    opened = SimpleNamespace(sequencer=SimpleNamespace(position=None), publisher=SimpleNamespace(refused=None))


class _Leading:
    """A log of ten entries whose signer will not sign."""

    opened = SimpleNamespace(
        sequencer=SimpleNamespace(position=SimpleNamespace(tree=SimpleNamespace(frontier=SimpleNamespace(size=10)))),
        publisher=SimpleNamespace(refused="rolled back", published_at_s=None),
        signer=SimpleNamespace(last=None),
        outreach=SimpleNamespace(anchor_lag=float, behind_s=float, witness_lag=float),
    )


@pytest.mark.parametrize("log", [_NeverOpened(), _StandingBy()], ids=["never opened", "standing by"])
@pytest.mark.parametrize("gauge", GAUGES)
def test_a_process_that_does_not_append_has_no_number(gauge: str, log: object) -> None:
    metrics.watch(cast("Log", log))
    value = REGISTRY.get_sample_value(gauge)
    assert value is not None
    assert math.isnan(value)


def test_the_process_that_appends_has_each() -> None:
    metrics.watch(cast("Log", _Leading()))
    values = {gauge: REGISTRY.get_sample_value(gauge) for gauge in GAUGES}
    assert not any(value is None or math.isnan(value) for value in values.values()), values
    assert values["hookbus_audit_signer_refuses"] == 1.0
    assert values["hookbus_audit_unsigned_entries"] == 10.0
