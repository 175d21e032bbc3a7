"""What the client's integration tests share."""

from pathlib import Path

import pytest
from support.hookbus_command import Command


@pytest.fixture
def hookbus(tmp_path: Path) -> Command:
    """The command with an empty data folder."""
    return Command(tmp_path / "data")
