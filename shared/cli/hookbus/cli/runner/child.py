"""One process: started in a folder by descriptor, watched, and gone with all its offspring when this returns."""

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

import psutil

READ_BYTES: Final = 64 * 1024
TICK_S: Final = 0.1
GRACE_S: Final = 5.0
"""Between asking a command to end and killing it."""
DRAIN_S: Final = 0.5
"""After the command's end, for what its offspring still print before it is killed."""
ROUNDS_MAX: Final = 10
"""Of killing what is left, for what was started while it was killed."""
EXIT_TIMEOUT: Final = 124
"""As ``timeout`` says it."""
SIGNAL_EXIT_BASE: Final = 128
PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Sink = Callable[[str, bytes], None]


class Child:
    """A command: started, run to its end, gone."""

    def __init__(self) -> None:
        self._started: subprocess.Popen[bytes] | None = None
        self._waiting_signal: int | None = None
        self._end_by_s: float | None = None
        self.timed_out = False
        self._library = ctypes.CDLL(None, use_errno=True) if sys.platform.startswith("linux") else None
        if self._library is not None:
            # Whatever the command leaves behind becomes ours, so that it can be found and ended.
            self._library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def start(self, argv: list[str], folder: int, environment: Mapping[str, str]) -> None:
        """Start it in ``folder``, a descriptor. A signal that came meanwhile reaches it now.

        Raises:
            OSError: it cannot be started.
        """

        def enter() -> None:
            os.fchdir(folder)
            if self._library is not None:
                self._library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

        self._started = subprocess.Popen(  # noqa: S603 - running what it is told, after the decision, is this program
            argv,
            env=dict(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509 - no thread runs yet, and only the child can enter by descriptor
            bufsize=0,
        )
        if self._waiting_signal is not None:
            self._signal(self._waiting_signal)

    @property
    def _process(self) -> "subprocess.Popen[bytes]":
        assert self._started is not None
        return self._started

    @property
    def exit_code(self) -> int:
        """124 after the timeout, else its own, or 128 and the number of the signal that ended it."""
        if self.timed_out:
            return EXIT_TIMEOUT
        code = self._process.returncode
        if code is None:  # pyright: ignore[reportUnnecessaryComparison]  # not ended: it cannot even be killed
            code = -signal.SIGKILL
        return code if code >= 0 else SIGNAL_EXIT_BASE - code

    def run(self, sink: Sink, tick: Callable[[float], None], *, timeout_s: float) -> None:
        """Hand over what it prints until it has ended. Where this raises it is ended too."""
        try:
            self._watch(sink, tick, timeout_s)
        finally:
            self._end()

    def _watch(self, sink: Sink, tick: Callable[[float], None], timeout_s: float) -> None:
        timeout_at_s = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            for name in ("stdout", "stderr"):
                pipe = getattr(self._process, name)
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe.fileno(), selectors.EVENT_READ, name)
            drain_until_s: float | None = None
            while selector.get_map():
                _read(selector, sink)
                now_s = time.monotonic()
                tick(now_s)
                if self._process.poll() is not None:
                    drain_until_s = drain_until_s or now_s + DRAIN_S
                    if now_s >= drain_until_s:
                        self._end_offspring()
                elif now_s >= timeout_at_s and not self.timed_out:
                    self.timed_out = True
                    self._ask(signal.SIGTERM)
                if self._end_by_s is not None and now_s >= self._end_by_s:
                    self._signal(signal.SIGKILL)
            while self._process.poll() is None:
                # It closed its output and goes on.
                tick(time.monotonic())
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(TICK_S)
                if time.monotonic() >= min(timeout_at_s, self._end_by_s or timeout_at_s):
                    self.timed_out = self._end_by_s is None or self.timed_out
                    self._signal(signal.SIGKILL)

    def _end(self) -> None:
        if self._process.poll() is None:
            self._signal(signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
        self._end_offspring()

    def _ask(self, number: int) -> None:
        self._end_by_s = self._end_by_s or time.monotonic() + GRACE_S
        self._signal(number)

    def _signal(self, number: int) -> None:
        if self._started is None:
            self._waiting_signal = number
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _end_offspring(self) -> None:
        """Kill what is left: the command's group, and what left the group and so became this process's child."""
        self._signal(signal.SIGKILL)
        for _ in range(ROUNDS_MAX):
            with suppress(psutil.Error):
                left = psutil.Process().children(recursive=True)
                for one in left:
                    with suppress(psutil.Error):
                        one.kill()
                psutil.wait_procs(left, GRACE_S)
                if not left:
                    return

    @contextmanager
    def forwarding(self) -> Generator[None]:
        """Signals to this process reach the command, which then has its grace to end."""

        def forward(number: int, _frame: FrameType | None) -> None:
            self._ask(number)

        before = {number: signal.signal(number, forward) for number in FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _read(selector: selectors.BaseSelector, sink: Sink) -> None:
    for key, _ in selector.select(TICK_S):
        try:
            content = os.read(key.fd, READ_BYTES)
        except BlockingIOError:
            continue
        if content:
            sink(str(key.data), content)
        else:
            selector.unregister(key.fd)
