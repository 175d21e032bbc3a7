"""A backup during which keys of the audit log are rotated: taken anew until its parts fit, and then it opens."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from support.fixtures import server_folder
from support.stack import StackFixture

from hookbus.embedded import commands
from hookbus.embedded.backup import commands as backup_commands
from hookbus.embedded.backup import database

SAVE = database.save


@pytest.fixture(scope="module")
def backed_up() -> Iterator[StackFixture]:
    with server_folder() as folder:
        running = StackFixture.launch(folder / "stack")
        try:
            yield running
        finally:
            running.stop()


def rotate(stack: StackFixture, which: str) -> None:
    address = f"{stack.url}/api/v1/audit/keys/{which}/rotate"
    httpx.post(address, headers=stack.headers, timeout=30).raise_for_status()


def rotations(stack: StackFixture, turns: Iterator[str]) -> Callable[..., None]:
    """``database.save``, with one rotation before each copy as long as ``turns`` names one."""

    def save(folder: Path, *, port: int, password: str) -> None:
        which = next(turns, None)
        if which is not None:
            rotate(stack, which)
        SAVE(folder, port=port, password=password)

    return save


@pytest.mark.timeout(600)
def test_a_backup_that_meets_a_rotation_of_either_key_restores_to_a_log_that_verifies(
    backed_up: StackFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the files and the wrapped keys, where the copied passphrase would open nothing and the copied signing key
    would know nothing of its heir."""
    events = [{"kind": "notification", "agent_id": "rotated"} for _ in range(5)]
    httpx.post(f"{backed_up.url}/api/v1/events", json=events, headers=backed_up.headers).raise_for_status()
    file = tmp_path / "b.tar.gz"
    turns = iter(("wrapping", "signing"))
    monkeypatch.setattr(database, "save", rotations(backed_up, turns))
    assert backup_commands.backup(file, backed_up.layout.root) == commands.EXIT_DONE
    assert next(turns, None) is None, "both rotations came in between"
    with server_folder() as elsewhere:
        assert backup_commands.restore(file, elsewhere / "stack") == commands.EXIT_DONE


@pytest.mark.timeout(300)
def test_a_backup_that_meets_a_rotation_each_time_says_so_and_leaves_no_file(
    backed_up: StackFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "save", rotations(backed_up, iter(["wrapping"] * 10)))
    assert backup_commands.backup(tmp_path / "b.tar.gz", backed_up.layout.root) == commands.EXIT_NO
    assert "rotated" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
