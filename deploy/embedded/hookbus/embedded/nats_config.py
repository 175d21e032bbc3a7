"""The configuration of nats-server: one user per service, acknowledgements that mean "on disk"."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hookbus.embedded.nats_permissions import REPLIES_MAX, REPLY_WINDOW, permissions_of

PAYLOAD_BYTES_MAX: Final = 2 * 1024**2
CONNECTIONS_MAX: Final = 1_000
FILE_STORE_BYTES_MAX: Final = 16 * 1024**3
MEMORY_STORE_BYTES_MAX: Final = 64 * 1024**2


@dataclass(frozen=True)
class NatsConfig:
    """What differs from one installation to the next."""

    name: str
    listen: str
    monitor_listen: str
    store: str
    passwords: Mapping[str, str] = field(repr=False)
    """User -> password, for each of ``nats_permissions.USERS``."""
    tls_folder: str | None = None
    """A folder with ``server.pem``, ``server.key`` and ``ca.pem``; None: plain connections."""

    def render(self) -> str:
        """The configuration text: JSON, which the server's own format contains. It holds the passwords."""
        config: dict[str, object] = {
            "listen": self.listen,
            "http": self.monitor_listen,
            "server_name": self.name,
            "max_payload": PAYLOAD_BYTES_MAX,
            "max_connections": CONNECTIONS_MAX,
            "jetstream": {
                "store_dir": self.store,
                # What an answer 202 promises: the event is on disk before the acknowledgement.
                "sync_interval": "always",
                "max_file_store": FILE_STORE_BYTES_MAX,
                "max_memory_store": MEMORY_STORE_BYTES_MAX,
            },
            "authorization": {"users": [_user_entry(user, password) for user, password in self.passwords.items()]},
        }
        if self.tls_folder is not None:
            config["tls"] = {
                "cert_file": f"{self.tls_folder}/server.pem",
                "key_file": f"{self.tls_folder}/server.key",
                "ca_file": f"{self.tls_folder}/ca.pem",
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
