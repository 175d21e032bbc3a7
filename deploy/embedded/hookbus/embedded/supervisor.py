"""Starts units stage by stage, starts again what dies, stops everything in reverse order."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from hookbus.embedded.probes import http_answer
from hookbus.embedded.processes import ManagedProcess, ProcessSpec

WATCH_INTERVAL_S: Final = 0.1
READY_POLL_INTERVAL_S: Final = 0.05
LOG_CHECK_INTERVAL_S: Final = 5.0

RESTART_BACKOFF_MIN_S: Final = 0.2
RESTART_BACKOFF_MAX_S: Final = 2.0
"""Small against the 15 s in which the stack is whole again after a death."""
RESTART_BACKOFF_FACTOR: Final = 2.0
STABLE_S: Final = 30.0
"""After this long without dying a process starts from the smallest backoff again."""
LIFE_CHECK_INTERVAL_S: Final = 2.0
LIFE_CHECK_TIMEOUT_S: Final = 4.0
UNANSWERED_CHECKS_MAX: Final = 4
"""A process that leaves so many checks in a row without an answer hangs, and is killed: after 24 s where it does not
answer at all, 8 s where it says itself that it is past help. Counted in checks and not in time, so that nobody is
killed because the whole machine was suspended."""
START_ATTEMPTS_MAX: Final = 2
"""How often a process may die before it was ever ready, at the start of the stack: its fault rarely mends itself."""

log = logging.getLogger(__name__)


class StartError(Exception):
    """A unit did not become ready; the text has the end of its log."""


@dataclass
class Unit:
    """One supervised process. ``is_ready`` and ``is_alive`` block for a short time and run in a thread.

    ``is_alive`` is about the process alone, whatever it stands on; None where a hung one cannot be told.
    """

    spec: ProcessSpec
    is_ready: Callable[[], bool]
    probe_host: str
    probe_port: int
    probe_path: str | None
    ready_timeout_s: float
    start_attempts_max: int = START_ATTEMPTS_MAX
    before_start: Callable[[], None] | None = None
    is_alive: Callable[[], bool] | None = None
    restarts: int = 0
    process: ManagedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.process = ManagedProcess(self.spec)

    @property
    def name(self) -> str:
        """The process's name."""
        return self.spec.name


class Backoff:
    """Pauses between restarts of one process: doubling, bounded, forgotten after a stable time."""

    def __init__(self) -> None:
        self._pause_s = RESTART_BACKOFF_MIN_S

    def next_s(self, uptime_s: float) -> float:
        """The pause before the next start of a process that lived for ``uptime_s``."""
        if uptime_s >= STABLE_S:
            self._pause_s = RESTART_BACKOFF_MIN_S
        pause_s = self._pause_s
        self._pause_s = min(pause_s * RESTART_BACKOFF_FACTOR, RESTART_BACKOFF_MAX_S)
        return pause_s


class Supervisor:
    """Keeps units running. Use it from one event loop in the main thread: children end with that thread."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        """``on_change`` writes down what runs. Where it raises OSError it is called again at the next change."""
        self.stages: list[Sequence[Unit]] = []
        """Started so far, in order."""
        self._on_change = on_change
        self._untold = False
        """Whether the last change is not written down."""
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def units(self) -> list[Unit]:
        """Every unit started so far."""
        return [unit for stage in self.stages for unit in stage]

    async def start(self, stage: Sequence[Unit]) -> None:
        """Start units at once and wait until all are ready; from then on each is kept running.

        Raises:
            StartError: one did not become ready.

        """
        self.stages.append(stage)
        async with asyncio.TaskGroup() as group:
            for unit in stage:
                group.create_task(self._start_one(unit))
        for unit in stage:
            self._keepers.append(asyncio.create_task(self._keep(unit), name=f"keep-{unit.name}"))
            if unit.is_alive is not None:
                self._keepers.append(asyncio.create_task(_end_hung(unit, unit.is_alive), name=f"check-{unit.name}"))
        self._tell()

    async def stop(self) -> None:
        """Stop the units, last stage first; within a stage at once. No unit is started again."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self._keepers.clear()
        for stage in reversed(self.stages):
            log.info("stopping %s", ", ".join(unit.name for unit in stage))
            await asyncio.gather(*(asyncio.to_thread(unit.process.stop) for unit in stage))
        self.stages.clear()
        self._tell()

    async def _start_one(self, unit: Unit) -> None:
        backoff = Backoff()
        deadline = time.monotonic() + unit.ready_timeout_s
        for _ in range(unit.start_attempts_max):
            self._launch(unit)
            while unit.process.is_running and time.monotonic() < deadline:
                if await asyncio.to_thread(unit.is_ready):
                    log.info("%s is ready (process %s)", unit.name, unit.process.pid)
                    return
                await asyncio.sleep(READY_POLL_INTERVAL_S)
            if unit.process.is_running:
                break
            log.warning("%s ended with code %s before it was ready", unit.name, unit.process.exit_code)
            await asyncio.sleep(backoff.next_s(0.0))
        raise StartError(await asyncio.to_thread(_why, unit))

    async def _keep(self, unit: Unit) -> None:
        backoff = Backoff()
        log_checked_at, log_bounded = time.monotonic(), True
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if unit.process.is_running:
                if time.monotonic() - log_checked_at >= LOG_CHECK_INTERVAL_S:
                    log_checked_at = time.monotonic()
                    log_bounded = _bound_log(unit, was_bounded=log_bounded)
                    if self._untold:
                        self._tell()
                continue
            uptime_s = time.time() - (unit.process.started_at or time.time())
            pause_s = backoff.next_s(uptime_s)
            log.warning(
                "%s ended with code %s after %.1f s; starting it again in %.1f s",
                unit.name,
                unit.process.exit_code,
                uptime_s,
                pause_s,
            )
            self._tell()
            await asyncio.sleep(pause_s)
            unit.restarts += 1
            try:
                self._launch(unit)
            except OSError:
                log.exception("%s cannot be started", unit.name)

    def _launch(self, unit: Unit) -> None:
        if unit.before_start is not None:
            unit.before_start()
        unit.process.start()
        self._tell()

    def _tell(self) -> None:
        """Have the change written down, if that can be done: a full disk must not keep a process from its restart."""
        try:
            self._on_change()
        except OSError as error:
            if not self._untold:
                log.error("what runs cannot be written down: %s", error)  # noqa: TRY400 - the words say it all
            self._untold = True
        else:
            self._untold = False


def _bound_log(unit: Unit, *, was_bounded: bool) -> bool:
    """Roll the unit's log over where it is too large; whether it is bounded now. A failure is logged once in a row."""
    try:
        unit.process.bound_log()
    except OSError as error:
        if was_bounded:
            log.error("the log of %s cannot be bounded: %s", unit.name, error)  # noqa: TRY400 - the words say it all
        return False
    return True


async def _end_hung(unit: Unit, is_alive: Callable[[], bool]) -> None:
    """Kill the process when it answers no more; its keeper starts it again. One that never answered is starting yet."""
    pid, answered, unanswered = None, False, 0
    while True:
        await asyncio.sleep(LIFE_CHECK_INTERVAL_S)
        if unit.process.pid != pid:
            pid, answered, unanswered = unit.process.pid, False, 0
        if pid is None:
            continue
        if await asyncio.to_thread(is_alive):
            answered, unanswered = True, 0
            continue
        unanswered += 1
        if answered and unanswered >= UNANSWERED_CHECKS_MAX and unit.process.pid == pid:
            log.error("%s (process %s) does not answer any more; killing it", unit.name, pid)
            unit.process.signal(signal.SIGKILL)


def _why(unit: Unit) -> str:
    """What a person needs to see when a unit is not ready: its own words about its dependencies, and its log."""
    said = ""
    if unit.process.is_running and unit.probe_path is not None:
        answer = http_answer(unit.probe_host, unit.probe_port, unit.probe_path)
        said = f" It says: {answer[1]}" if answer is not None else ""
    return (
        f"{unit.name} did not become ready.{said}\nThe end of {unit.spec.log_file}:\n{unit.process.log_tail().rstrip()}"
    )
