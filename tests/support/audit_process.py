"""The audit service as processes of its own, which can be paused and killed."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from hookbus.embedded.ports import free_ports
from support.servers import NatsFixture, PostgresFixture


@dataclass
class AuditProcess:
    """``python -m hookbus.audit`` on a folder of secrets; several may share it."""

    nats: NatsFixture
    postgres: PostgresFixture
    folder: Path
    settings: dict[str, str] = field(default_factory=dict[str, str])
    process: "subprocess.Popen[bytes] | None" = field(default=None)

    def start(self) -> None:
        (port,) = free_ports(1)
        environment = {
            "PATH": os.environ["PATH"],
            **self.nats.environment("audit"),
            "HOOKBUS_DATABASE_URL": self.postgres.database_url("audit"),
            "HOOKBUS_HTTP_PORT": str(port),
            "HOOKBUS_AUDIT_SIGNING_KEY_FILE": str(self.folder / "signing.pem"),
            "HOOKBUS_AUDIT_PASSPHRASE_FILE": str(self.folder / "passphrase"),
            "HOOKBUS_AUDIT_KEYS_FILE": str(self.folder / "keys.sqlite"),
            **self.settings,
        }
        with (self.folder / "audit.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "hookbus.audit"], env=environment, stdout=log, stderr=log
            )

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
