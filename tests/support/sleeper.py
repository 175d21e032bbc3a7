"""A process that only sleeps, for what keeps processes alive."""

import sys
from pathlib import Path

from hookbus.embedded.processes import ProcessSpec
from hookbus.embedded.supervisor import Unit


def sleeper(folder: Path, *, ready_timeout_s: float) -> Unit:
    """Not started yet; it counts as ready at once and serves no probe."""
    argv = (sys.executable, "-c", "import time; time.sleep(3600)")
    return Unit(
        spec=ProcessSpec("sleeper", argv, folder / "sleeper.log"),
        is_ready=lambda: True,
        probe_host="",
        probe_port=0,
        probe_path=None,
        ready_timeout_s=ready_timeout_s,
    )
