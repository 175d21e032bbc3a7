"""Points in the life of an event at which a process can be made to die.

They are named by what a kill there would tear apart. A point is armed by a file that the test writes; the process that
reaches it takes the file away and sends SIGKILL, to itself or to the server it stands on, before it does anything else.
"""

import json
import os
import signal
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path


class Point(StrEnum):
    """Where an event is."""

    BEFORE_COMMIT = "before_commit"
    """Its effect is written and not committed (at the gateway: not sent to the bus)."""
    AFTER_COMMIT = "after_commit"
    """Committed; nobody was told."""
    AFTER_ACK = "after_ack"
    """Acknowledged to the bus (at the gateway: answered)."""


@dataclass(frozen=True)
class Order:
    """Kill ``victim`` (None: the process itself) when the point is reached for the ``after``-th time from now on."""

    after: int = 1
    victim: int | None = None


@dataclass(frozen=True)
class Trigger:
    """The file that arms one point of one service."""

    folder: Path
    service: str
    point: Point

    @property
    def file(self) -> Path:
        return self.folder / f"{self.service}.{self.point}"

    @property
    def was_reached(self) -> bool:
        return not self.file.exists()

    def arm(self, order: Order) -> None:
        written = self.file.with_suffix(".new")
        written.write_text(json.dumps(asdict(order)))
        written.rename(self.file)

    def disarm(self) -> None:
        self.file.unlink(missing_ok=True)


class Trap:
    """The process's side of its points."""

    def __init__(self, folder: Path, service: str) -> None:
        self._triggers = {point: Trigger(folder, service, point) for point in Point}
        self._passed = dict.fromkeys(Point, 0)

    def is_armed(self, point: Point) -> bool:
        """Whether anybody waits for the point."""
        return not self._triggers[point].was_reached

    def reach(self, point: Point) -> None:
        """Go on, or kill."""
        trigger = self._triggers[point]
        if trigger.was_reached:
            self._passed[point] = 0
            return
        order = Order(**json.loads(trigger.file.read_text()))
        self._passed[point] += 1
        if self._passed[point] < order.after:
            return
        self._passed[point] = 0
        trigger.disarm()
        os.kill(os.getpid() if order.victim is None else order.victim, signal.SIGKILL)
