"""A data disk that takes nothing more: what dies is started again all the same, and written down once there is room."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.sleeper import sleeper
from support.waiting import eventually

from hookbus.embedded import processes, state, supervisor
from hookbus.embedded.supervisor import Supervisor, Unit

RESTARTS = 2


@asynccontextmanager
async def supervised(folder: Path) -> AsyncGenerator[Unit]:
    """A process that sleeps, supervised, and written down in a run file."""
    unit = sleeper(folder, ready_timeout_s=10.0)

    def write_down() -> None:
        found = state.ProcessState(
            name=unit.name,
            pid=unit.process.pid,
            started_at=None,
            restarts=unit.restarts,
            probe_host="",
            probe_port=0,
            probe_path=None,
            stop_signal=int(unit.spec.stop_signal),
        )
        run = state.RunState(pid=1, started_at=0.0, url="", host="", port=0, ports={}, ready=True, processes=(found,))
        state.save(folder / "run.json", run)

    keeper = Supervisor(write_down)
    try:
        await keeper.start([unit])
        yield unit
    finally:
        await keeper.stop()


def recorded(folder: Path) -> int | None:
    """The process id in the run file; None where there is none that can be read."""
    run = state.load(folder / "run.json")
    return None if run is None or not run.processes else run.processes[0].pid


async def died_and_came_back(unit: Unit) -> None:
    before, restarts = unit.process.pid, unit.restarts
    unit.process.kill()
    await eventually(lambda: unit.restarts > restarts and unit.process.is_running)
    assert unit.process.pid != before


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "RESTART_BACKOFF_MIN_S", 0.01)
    monkeypatch.setattr(supervisor, "RESTART_BACKOFF_MAX_S", 0.01)


async def test_a_process_is_restarted_though_the_run_file_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder stands in the place of the run file: writing it fails, as it does on a full disk, for root as well."""
    async with supervised(tmp_path) as unit:
        assert recorded(tmp_path) == unit.process.pid
        (tmp_path / "run.json").unlink()
        (tmp_path / "run.json").mkdir()
        for _ in range(RESTARTS):
            await died_and_came_back(unit)
        said = [record for record in caplog.records if "cannot be written down" in record.getMessage()]
        assert len(said) == 1
        (tmp_path / "run.json").rmdir()
        await died_and_came_back(unit)
        await eventually(lambda: recorded(tmp_path) == unit.process.pid)


async def test_what_could_not_be_written_down_is_tried_again_though_nothing_changes_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "LOG_CHECK_INTERVAL_S", 0.0)
    async with supervised(tmp_path) as unit:
        (tmp_path / "run.json").unlink()
        (tmp_path / "run.json").mkdir()
        await died_and_came_back(unit)
        (tmp_path / "run.json").rmdir()
        await eventually(lambda: recorded(tmp_path) == unit.process.pid)


async def test_a_process_is_restarted_though_its_log_cannot_be_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "LOG_CHECK_INTERVAL_S", 0.0)
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10)
    (tmp_path / "sleeper.log.1").mkdir()
    async with supervised(tmp_path) as unit:
        (tmp_path / "sleeper.log").write_bytes(b"x" * 100)
        await eventually(lambda: "cannot be bounded" in caplog.text)
        await died_and_came_back(unit)
        assert caplog.text.count("cannot be bounded") == 1
