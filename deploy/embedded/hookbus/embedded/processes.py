"""One child process: started so that it ends with its parent, its output in a bounded file, stopped in order."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

STOP_GRACE_S: Final = 15.0
"""How long a process may take to end after its stop signal before it is killed."""

LOG_BYTES_MAX: Final = 16 * 1024**2
"""A log over this size is kept once as ``<name>.log.1`` and begun anew."""

PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True)
class RunAs:
    """The account a process runs under when the parent is root."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessSpec:
    """What to start and how to stop it. ``environment`` is the whole environment, not an addition."""

    name: str
    argv: tuple[str, ...]
    log_file: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    run_as: RunAs | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = STOP_GRACE_S


def _death_signal_setter(number: signal.Signals) -> Callable[[], None] | None:
    """What the child runs before its program: the kernel sends it ``number`` when its parent dies, even by SIGKILL.

    None where the system has no such thing; there the next start ends what an earlier one left behind.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def set_death_signal() -> None:
        prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the call: no signal comes any more
            os._exit(1)

    return set_death_signal


class ManagedProcess:
    """A child process that can be started again after it died.

    Start it from the main thread: the kernel ties the death signal to the thread that started the child.
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.started_at: float | None = None
        """Wall clock, seconds since the epoch."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """How it ended (negative: by that signal), None while it runs or before its first start."""
        return self._process.poll() if self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.pid is not None

    def start(self) -> None:
        """Start the program; its output is appended to the log file.

        Raises:
            OSError: the program cannot be started.

        """
        spec = self.spec
        with _open_log(spec.log_file) as output:
            self._process = subprocess.Popen(  # noqa: S603 - the argument list is built by this package
                spec.argv,
                env=dict(spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=spec.run_as.uid if spec.run_as else None,
                group=spec.run_as.gid if spec.run_as else None,
                extra_groups=[] if spec.run_as else None,
                umask=0o077,
                # A session of its own: Ctrl-C at the terminal reaches the supervisor alone, which stops in order.
                start_new_session=True,
                preexec_fn=_death_signal_setter(spec.stop_signal),  # noqa: PLW1509 - one system call, no locks taken
            )
        self.started_at = time.time()

    def signal(self, number: int) -> None:
        """Send a signal; nothing happens if the process is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """Stop signal, wait for the grace, then SIGKILL. Returns when the process is gone."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(self.spec.stop_signal)
        try:
            process.wait(self.spec.stop_grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def bound_log(self) -> None:
        """Roll the log over when it is larger than ``LOG_BYTES_MAX``. The writer keeps its append-mode descriptor."""
        path = self.spec.log_file
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_size <= LOG_BYTES_MAX:
                return
            kept = path.with_name(f"{path.name}.1")
            with path.open("rb") as source, _open_log(kept) as target:
                target.truncate(0)
                target.write(source.read(LOG_BYTES_MAX))
            os.truncate(path, 0)

    def log_tail(self, *, bytes_max: int = 2_000) -> str:
        """The end of the log, for an error message."""
        try:
            with self.spec.log_file.open("rb") as stream:
                stream.seek(0, os.SEEK_END)
                stream.seek(max(0, stream.tell() - bytes_max))
                return stream.read().decode(errors="replace")
        except FileNotFoundError:
            return ""


def _open_log(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(descriptor, "ab")
