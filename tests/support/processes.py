"""One service as its own process on the servers of a test, to be stopped, paused, killed and started again."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hookbus.embedded.ports import LOOPBACK, free_port
from hookbus.embedded.probes import http_status, wait_until
from hookbus.embedded.processes import ManagedProcess, ProcessSpec
from support.servers import NatsFixture, PostgresFixture, StartError

READY_TIMEOUT_S = 120.0
"""A start takes two seconds of processor time, of which a busy machine gives little."""


@dataclass
class ServiceProcess:
    """``python -m <module>`` as one user of the bus and one role of the database."""

    process: ManagedProcess
    port: int

    @classmethod
    def prepare(
        cls,
        module: str,
        service: str,
        folder: Path,
        nats: NatsFixture,
        postgres: PostgresFixture | None = None,
        **settings: str,
    ) -> Self:
        """Not started yet; its log is ``folder/<service>.log``. ``settings`` are further environment variables."""
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "HOOKBUS_HTTP_PORT": str(port),
            **nats.environment(service),
            **({"HOOKBUS_DATABASE_URL": postgres.database_url(service)} if postgres else {}),
            **settings,
        }
        spec = ProcessSpec(service, (sys.executable, "-P", "-m", module), folder / f"{service}.log", environment)
        return cls(ManagedProcess(spec), port)

    @classmethod
    def budget(cls, folder: Path, nats: NatsFixture, postgres: PostgresFixture) -> Self:
        """The budget service."""
        return cls.prepare("hookbus.budget", "budget", folder, nats, postgres, HOOKBUS_LOG_LEVEL="WARNING")

    @classmethod
    def audit(cls, folder: Path, nats: NatsFixture, postgres: PostgresFixture, **settings: str) -> Self:
        """The audit service with its secrets in ``folder``, which several processes may share."""
        secrets = {
            "HOOKBUS_AUDIT_SIGNING_KEY_FILE": str(folder / "signing.pem"),
            "HOOKBUS_AUDIT_PASSPHRASE_FILE": str(folder / "passphrase"),
            "HOOKBUS_AUDIT_KEYS_FILE": str(folder / "keys.sqlite"),
        }
        return cls.prepare("hookbus.audit", "audit", folder, nats, postgres, **secrets, **settings)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        pid = self.process.pid
        assert pid is not None, self.process.log_tail()
        return pid

    def start(self) -> None:
        """Start it; it is not ready yet."""
        self.process.start()

    def is_ready(self) -> bool:
        return http_status(LOOPBACK, self.port, "/readyz") == 200

    def wait_ready(self) -> None:
        """Wait until it says that it is ready."""
        wait_until(lambda: self.is_ready() or not self.process.is_running, timeout_s=READY_TIMEOUT_S)
        if not self.is_ready():
            tail = self.process.log_tail()
            self.kill()
            raise StartError(tail)

    def signal(self, number: int) -> None:
        self.process.signal(number)

    def kill(self) -> None:
        """SIGKILL, also of one that is paused, and wait until it is gone."""
        self.process.kill()

    def stop(self) -> None:
        """SIGTERM, and wait until it is gone."""
        self.process.stop()
