"""The run file and the lock: who runs on a data folder now, and what was left running by a supervisor that died."""

import contextlib
import fcntl
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from hookbus.embedded.files import SECRET_FILE_MODE, write_secret_file

SAME_PROCESS_TOLERANCE_S: Final = 2.0
"""A process id is taken for the recorded process when its start lies this near to the recorded one."""
LEFTOVER_GRACE_S: Final = 15.0


class ProcessState(BaseModel):
    """One supervised process."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int | None
    started_at: float | None
    """Seconds since the epoch, as the system reports it."""
    restarts: int
    probe_host: str
    probe_port: int
    probe_path: str | None
    """What ``GET`` on the port tells readiness; None for a server that speaks no HTTP."""
    stop_signal: int


class RunState(BaseModel):
    """One running stack."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started_at: float
    url: str
    host: str
    port: int
    ports: dict[str, int]
    ready: bool
    processes: tuple[ProcessState, ...]


class LockedError(Exception):
    """Another supervisor holds the data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        holder = f"process {pid}" if pid is not None else "another process"
        super().__init__(f"hookbus already runs on {folder} ({holder}). Stop it with: hookbus down --data-dir {folder}")
        self.pid = pid


@contextmanager
def folder_lock(lock_file: Path) -> Generator[None]:
    """Hold the data folder. The system drops the lock when the process ends, however it ends.

    Raises:
        LockedError: somebody else holds it.

    """
    descriptor = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET_FILE_MODE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockedError(lock_file.parent, _read_pid(descriptor)) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_locked(lock_file: Path) -> bool:
    """Whether a supervisor holds the data folder now."""
    try:
        descriptor = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None


def start_time_of(pid: int) -> float | None:
    """When the process started, seconds since the epoch; None when there is no such process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def is_same_process(pid: int | None, started_at: float | None) -> bool:
    """Whether ``pid`` still is the process that was recorded, and not a later one with its number."""
    if pid is None or started_at is None:
        return False
    actual = start_time_of(pid)
    return actual is not None and abs(actual - started_at) < SAME_PROCESS_TOLERANCE_S


def save(path: Path, state: RunState) -> None:
    """Write the run file (0600) in one step."""
    write_secret_file(path, state.model_dump_json(indent=2))


def load(path: Path) -> RunState | None:
    """The run file; None where there is none that can be read."""
    try:
        return RunState.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def end_leftovers(state: RunState) -> list[str]:
    """End the processes of a supervisor that died without stopping them; their names. Call under the folder's lock."""
    left: list[tuple[str, psutil.Process]] = []
    for recorded in reversed(state.processes):
        if recorded.pid is None or not is_same_process(recorded.pid, recorded.started_at):
            continue
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(recorded.pid)
            process.send_signal(signal.Signals(recorded.stop_signal))
            left.append((recorded.name, process))
    _, alive = psutil.wait_procs([process for _, process in left], timeout=LEFTOVER_GRACE_S)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=LEFTOVER_GRACE_S)
    return [name for name, _ in left]
