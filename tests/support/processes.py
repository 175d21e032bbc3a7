"""One service as its own process on the servers of a test."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hookbus.embedded.ports import LOOPBACK, free_port
from hookbus.embedded.probes import http_status, wait_until
from hookbus.embedded.processes import ManagedProcess, ProcessSpec
from support.servers import NatsFixture, PostgresFixture, StartError

READY_TIMEOUT_S = 20


@dataclass
class ServiceProcess:
    """``python -m <module>`` as one user of the bus and one role of the database."""

    process: ManagedProcess
    port: int

    @classmethod
    def launch(
        cls,
        module: str,
        service: str,
        folder: Path,
        nats: NatsFixture,
        postgres: PostgresFixture | None = None,
        **settings: str,
    ) -> Self:
        """Start it and wait until it is ready. ``settings`` are further environment variables."""
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "HOOKBUS_HTTP_PORT": str(port),
            **nats.environment(service),
            **({"HOOKBUS_DATABASE_URL": postgres.database_url(service)} if postgres else {}),
            **settings,
        }
        spec = ProcessSpec(service, (sys.executable, "-P", "-m", module), folder / f"{service}.log", environment)
        running = cls(ManagedProcess(spec), port)
        running.start()
        return running

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def start(self) -> None:
        self.process.start()
        if not wait_until(self.is_ready, timeout_s=READY_TIMEOUT_S):
            tail = self.process.log_tail()
            self.process.stop()
            raise StartError(tail)

    def is_ready(self) -> bool:
        return http_status(LOOPBACK, self.port, "/readyz") == 200

    def stop(self) -> None:
        self.process.stop()
