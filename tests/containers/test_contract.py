"""The contract's tests, which run against the embedded stack, again over the published port of the containers.

Those that need a process id, a log file or a stack of their own are not among them.
"""

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from support.compose import CONTRACT_MODULES

LOCAL = {
    # They start a stack of their own on this machine.
    "test_the_demo_keeps_its_promises_and_leaves_nothing",
    "test_a_demo_that_is_told_to_end_leaves_nothing",
    "test_with_the_bus_stopped_hooks_spool_and_the_spool_drains_on_its_return",
    "test_poison_is_set_aside_by_every_service_and_its_neighbours_pass",
    "test_a_denial_is_kept_whatever_the_rate",
    # It asks the embedded stack's supervisor.
    "test_status_says_that_all_is_ready",
    # They start a second gateway on this machine, which cannot reach the bus.
    "test_a_stolen_token_opens_nothing_until_the_password_is_given",
    "test_a_forwarding_header_counts_from_trusted_proxies_alone",
    # It reads the signing key, which no container but the signer can.
    "test_a_fork_is_proven_to_a_file_that_convinces_by_itself",
}
FIXTURES = {"key"}

pytestmark = pytest.mark.timeout(600)


def _named(module: Any, name: str) -> Callable[..., object]:
    found: Callable[..., object] = getattr(module, name)
    return found


seen: set[str] = set()
for _short in CONTRACT_MODULES:
    _module = importlib.import_module(f"e2e.{_short}")
    _class = type(f"Test{_short.removeprefix('test_').title().replace('_', '')}", (), {})
    for _name in dir(_module):
        if (_name.startswith("test_") and _name not in LOCAL) or _name in FIXTURES:
            setattr(_class, _name, staticmethod(_named(_module, _name)))
        seen.add(_name)
    globals()[_class.__name__] = _class


def test_each_of_those_left_out_exists() -> None:
    """A renamed test is not left out by accident."""
    assert seen >= LOCAL
