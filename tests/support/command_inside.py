"""The ``hookbus`` command inside the test's own process."""

import sys
from collections.abc import Callable

import pytest

from hookbus.cli.main import main

Run = Callable[..., int]
"""From the command's arguments to its exit code."""


def command_inside(monkeypatch: pytest.MonkeyPatch) -> Run:
    """What runs the command."""

    def command(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["hookbus", *arguments])
        return main()

    return command
