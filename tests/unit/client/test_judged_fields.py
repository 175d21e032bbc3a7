"""The client names a cut in each field that the gateway's guard judges."""

from hookbus.client.adapters.shaping import DECIDING_NAMES
from hookbus.gateway.guard.operation import COMMAND_FIELDS, PATH_FIELDS


def test_whatever_the_guard_judges_is_named_when_it_was_cut() -> None:
    assert {*PATH_FIELDS, *COMMAND_FIELDS} <= DECIDING_NAMES
