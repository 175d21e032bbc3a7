"""The whole embedded stack, started as users start it, in a temporary folder and on a free port."""

import os
import signal
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from hookbus.embedded import commands
from hookbus.embedded.layout import Layout
from hookbus.embedded.probes import wait_until
from hookbus.embedded.processes import ManagedProcess, ProcessSpec
from hookbus.embedded.state import load
from support.servers import StartError
from support.waiting import SLOWER_MAX, slower

START_TIMEOUT_S = 90
WHOLE_AGAIN_WITHIN_S = 15
"""The contract's I6: after the death of any single process."""
STOP_GRACE_S = 60
ANCHOR_NAME = "anchor.jsonl"
"""Of the file beside the stack's folder that keeps its checkpoints."""
UP = """
import sys
from pathlib import Path
from hookbus.embedded.commands import up
sys.exit(up(Path(sys.argv[1]), port=0))
"""


@dataclass
class StackFixture:
    """A supervisor in the foreground of a child process; when the test run dies, it stops in order by itself."""

    layout: Layout
    supervisor: ManagedProcess

    @classmethod
    def launch(cls, folder: Path, **settings: str) -> Self:
        """Start a stack on ``folder``; ``settings`` are environment variables for its services."""
        stack = cls.at(folder, **settings)
        stack.start()
        return stack

    @classmethod
    def at(cls, folder: Path, **settings: str) -> Self:
        """The same, not started yet."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **settings}
        spec = ProcessSpec(
            "supervisor",
            (sys.executable, "-P", "-c", UP, str(folder)),
            folder.with_name(f"{folder.name}.log"),
            environment,
            stop_signal=signal.SIGTERM,
            stop_grace_s=STOP_GRACE_S,
        )
        return cls(Layout(folder), ManagedProcess(spec))

    @property
    def url(self) -> str:
        """The gateway's address."""
        return str(self._client_settings()["url"])

    @property
    def api_key(self) -> str:
        """The local client's key: every scope."""
        return str(self._client_settings()["api_key"])

    @property
    def headers(self) -> dict[str, str]:
        """What an HTTP client needs to be let in."""
        return {"Authorization": f"Bearer {self.api_key}"}

    @property
    def postgres_url(self) -> str:
        """The superuser's address."""
        return self.layout.postgres_url_file.read_text().strip()

    @property
    def anchor_file(self) -> Path:
        """Where the fixtures' stacks keep their checkpoints as well."""
        return self.layout.root.with_name(ANCHOR_NAME)

    @property
    def environment(self) -> dict[str, str]:
        """For ``hookbus`` as a subprocess: its settings come from the stack's folder."""
        return {"PATH": os.environ["PATH"], "HOOKBUS_DATA_DIR": str(self.layout.root)}

    def report(self) -> dict[str, Any]:
        """What ``hookbus status --json`` says."""
        return commands.status_report(self.layout.root)

    def is_ready(self) -> bool:
        return bool(self.report()["ready"])

    def wait_ready(self, within_s: float = WHOLE_AGAIN_WITHIN_S) -> bool:
        """Wait until every process is ready: whether that was so within the time, in proportion to the machine's
        load."""
        began_s = time.monotonic()
        is_ready = wait_until(self.is_ready, timeout_s=within_s * SLOWER_MAX, interval_s=0.1)
        return is_ready and time.monotonic() - began_s <= within_s * slower()

    def pids(self) -> dict[str, int]:
        """Process id by name, of those that run."""
        run = load(self.layout.run_file)
        return {one.name: one.pid for one in run.processes if one.pid is not None} if run else {}

    def names(self) -> list[str]:
        return [one["name"] for one in self.report()["processes"]]

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to one process; its id."""
        pid = self.pids()[name]
        os.kill(pid, number)
        return pid

    def start(self) -> None:
        self.supervisor.start()

        def settled() -> bool:
            return self.is_ready() or not self.supervisor.is_running

        wait_until(settled, timeout_s=START_TIMEOUT_S, interval_s=0.1)
        if not (self.supervisor.is_running and self.is_ready()):
            self.supervisor.stop()
            raise StartError(self.supervisor.log_tail(bytes_max=8_000))

    def stop(self) -> None:
        """Stop it in order, as Ctrl-C does. The data stays."""
        self.supervisor.stop()

    def processes(self) -> list[psutil.Process]:
        """Every process of the stack, the supervisor included."""
        return [psutil.Process(pid) for pid in (*self.pids().values(), self.supervisor.pid) if pid is not None]

    def _client_settings(self) -> dict[str, Any]:
        return tomllib.loads(self.layout.client_file.read_text())
