"""The fixtures of these tests."""

import pytest
from support.command_inside import Run, command_inside


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The command, with a data folder of its own."""
    monkeypatch.setenv("HOOKBUS_DATA_DIR", str(tmp_path_factory.mktemp("data")))
    return command_inside(monkeypatch)
