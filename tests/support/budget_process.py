"""The budget service as a process of its own, as the stack runs it."""

import asyncio
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass

from hookbus.embedded.ports import free_ports
from support.servers import NatsFixture, PostgresFixture

READY_TIMEOUT_S = 120.0
"""A start takes two seconds of processor time, of which a busy machine gives little."""


@dataclass
class BudgetProcess:
    """A running ``python -m hookbus.budget``."""

    process: "subprocess.Popen[bytes]"
    port: int

    @classmethod
    def start(cls, nats: NatsFixture, postgres: PostgresFixture, **settings: str) -> "BudgetProcess":
        (port,) = free_ports(1)
        environment = {
            **os.environ,
            **nats.environment("budget"),
            "HOOKBUS_DATABASE_URL": postgres.database_url("budget"),
            "HOOKBUS_HTTP_PORT": str(port),
            "HOOKBUS_LOG_LEVEL": "WARNING",
            **settings,
        }
        process = subprocess.Popen([sys.executable, "-m", "hookbus.budget"], env=environment)
        return cls(process, port)

    async def ready(self) -> None:
        """Wait until the service says that it is ready."""
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await asyncio.to_thread(self._is_ready):
                assert self.process.poll() is None, "the budget process ended"
                await asyncio.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self.process.terminate()
        self.process.wait()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False
