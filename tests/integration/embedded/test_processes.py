"""Real child processes: their logs, their end, and that none outlives its parent."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hookbus.embedded import processes, state
from hookbus.embedded.probes import wait_until
from hookbus.embedded.processes import ManagedProcess, ProcessSpec
from hookbus.embedded.supervisor import StartError, Supervisor, Unit

SLEEPER = (sys.executable, "-c", "import time; print('began', flush=True); time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('began', flush=True); time.sleep(600)",
)


def spec(folder: Path, argv: tuple[str, ...], name: str = "child", stop_grace_s: float = 5.0) -> ProcessSpec:
    return ProcessSpec(name, argv, folder / f"{name}.log", {"PATH": os.environ["PATH"]}, stop_grace_s=stop_grace_s)


def began(process: ManagedProcess) -> bool:
    return wait_until(lambda: "began" in process.log_tail(), timeout_s=10)


def test_a_child_stops_at_its_signal(tmp_path: Path) -> None:
    process = ManagedProcess(spec(tmp_path, SLEEPER))
    process.start()
    assert began(process)
    process.stop()
    assert process.exit_code == -signal.SIGTERM
    assert process.pid is None


def test_a_child_that_ignores_its_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    process = ManagedProcess(spec(tmp_path, DEAF, stop_grace_s=0.3))
    process.start()
    assert began(process)
    process.stop()
    assert process.exit_code == -signal.SIGKILL


def test_a_child_gets_the_given_environment_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_SECRET", "planted")
    process = ManagedProcess(spec(tmp_path, (sys.executable, "-c", "import os; print(dict(os.environ))")))
    process.start()
    assert wait_until(lambda: not process.is_running, timeout_s=10)
    assert "planted" not in process.log_tail()


def test_a_log_is_bounded_while_its_writer_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10_000)
    writer = "import time\nfor n in range(10**6):\n    print('line', n, flush=True)\n    time.sleep(0.0001)"
    process = ManagedProcess(spec(tmp_path, (sys.executable, "-c", writer)))
    process.start()
    try:
        log_file = process.spec.log_file
        for _ in range(3):
            assert wait_until(lambda: log_file.stat().st_size > 10_000, timeout_s=20)
            process.bound_log()
            assert log_file.stat().st_size < 10_000
        assert log_file.with_name("child.log.1").stat().st_size <= 10_000
        # The writer appends at the new end: no hole of zeros is left at the front.
        assert wait_until(lambda: log_file.stat().st_size > 0, timeout_s=10)
        assert b"\x00" not in log_file.read_bytes()
    finally:
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the death signal is Linux's")
def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """SIGKILL gives the parent no chance to stop anything; the kernel does."""
    script = f"""
import time
from pathlib import Path
from hookbus.embedded.processes import ManagedProcess, ProcessSpec
child = ManagedProcess(ProcessSpec("child", {SLEEPER!r}, Path({str(tmp_path / "child.log")!r})))
child.start()
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child_pid = int(parent.stdout.readline())
        assert wait_until(lambda: (tmp_path / "child.log").read_text() == "began\n", timeout_s=10)
        parent.kill()
    assert wait_until(lambda: state.start_time_of(child_pid) is None, timeout_s=5)


async def test_a_dead_unit_comes_back_and_is_counted(tmp_path: Path) -> None:
    unit = Unit(spec(tmp_path, SLEEPER), lambda: True, "127.0.0.1", 1, None, ready_timeout_s=10)
    supervisor = Supervisor(lambda: None)
    try:
        await supervisor.start([unit])
        first = unit.process.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while (unit.process.pid in {first, None}) and time.monotonic() < deadline:
            await _pause()
        assert unit.process.pid not in {first, None}
        assert unit.restarts == 1
    finally:
        await supervisor.stop()
    assert not unit.process.is_running


async def test_a_unit_that_never_gets_ready_fails_the_start_with_its_log(tmp_path: Path) -> None:
    broken = (sys.executable, "-c", "import sys; sys.exit('no such setting')")
    unit = Unit(spec(tmp_path, broken), lambda: False, "127.0.0.1", 1, None, ready_timeout_s=10)
    supervisor = Supervisor(lambda: None)
    with pytest.raises(ExceptionGroup) as caught:
        await supervisor.start([unit])
    (error,) = caught.value.exceptions
    assert isinstance(error, StartError)
    assert "no such setting" in str(error)
    await supervisor.stop()


def test_what_a_dead_supervisor_left_is_ended_and_strangers_are_not(tmp_path: Path) -> None:
    left, stranger = (ManagedProcess(spec(tmp_path, SLEEPER, name)) for name in ("left", "stranger"))
    left.start()
    stranger.start()
    try:
        assert left.pid is not None
        assert stranger.pid is not None
        recorded = [
            _recorded("left", left.pid, psutil.Process(left.pid).create_time()),
            # The same process id, recorded at another time: the number was given to a stranger since.
            _recorded("stranger", stranger.pid, psutil.Process(stranger.pid).create_time() - 60),
        ]
        run = state.RunState(
            pid=1, started_at=0, url="", host="", port=0, ports={}, ready=True, processes=tuple(recorded)
        )
        assert state.end_leftovers(run) == ["left"]
        assert not left.is_running
        assert stranger.is_running
    finally:
        left.kill()
        stranger.kill()


def test_a_folder_is_held_once(tmp_path: Path) -> None:
    lock_file = tmp_path / "lock"
    assert not state.is_locked(lock_file)
    with state.folder_lock(lock_file):
        assert state.is_locked(lock_file)
        with pytest.raises(state.LockedError, match=f"process {os.getpid()}"), state.folder_lock(lock_file):
            pass
    assert not state.is_locked(lock_file)


def _recorded(name: str, pid: int, started_at: float) -> state.ProcessState:
    return state.ProcessState(
        name=name,
        pid=pid,
        started_at=started_at,
        restarts=0,
        probe_host="127.0.0.1",
        probe_port=1,
        probe_path=None,
        stop_signal=int(signal.SIGTERM),
    )


async def _pause() -> None:

    await asyncio.sleep(0.05)
