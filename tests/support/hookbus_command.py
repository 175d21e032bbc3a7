"""The real ``hookbus`` command, in a process of its own, with a data folder of its own."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hookbus.client.compactjson import dumps, loads

COMMAND = Path(sys.executable).parent / "hookbus"
API_KEY = "hbk_test"


@dataclass(frozen=True)
class Run:
    """One finished run of the command."""

    exit_code: int
    stdout: str
    stderr: str
    elapsed_s: float

    @property
    def answer(self) -> Any:
        """The JSON on stdout, None where there is none."""
        return loads(self.stdout) if self.stdout.strip() else None


class Command:
    """The ``hookbus`` command with a data folder and an environment of its own."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environ = {
            "PATH": "/usr/bin:/bin",
            "USER": "tester",
            "HOOKBUS_DATA_DIR": str(data_dir),
            "HOOKBUS_API_KEY": API_KEY,
        }

    def __call__(self, *arguments: str, stdin: object = b"", **environ: str) -> Run:
        """Run to its end. ``stdin`` is bytes, or a value to send as JSON."""
        raw = stdin if isinstance(stdin, bytes) else dumps(stdin)
        started = time.monotonic()
        done = subprocess.run(
            [str(COMMAND), *arguments],
            input=raw,
            env={**self.environ, **environ},
            capture_output=True,
            timeout=30,
            check=False,
        )
        elapsed_s = time.monotonic() - started
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode(), elapsed_s)

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[bytes]":
        """Start and leave running."""
        return subprocess.Popen(
            [str(COMMAND), *arguments],
            env={**self.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def spool(self) -> dict[str, Any]:
        """What ``spool status --json`` says."""
        return self("spool", "status", "--json").answer
