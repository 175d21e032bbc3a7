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


CLUSTER_NAME: Final = "hookbus"
CLUSTER_USER: Final = "route"
CLUSTER_PORT: Final = 6222
ROUTE_CONNECTIONS: Final = 3
"""What the server opens to each other member for all subjects together: its own default, written down."""


@dataclass(frozen=True)
class NatsCluster:
    """The servers that keep one JetStream together."""

    members: tuple[str, ...]
    """Host names, each member's own included."""
    password: str = field(repr=False)
    """With which members let each other in."""

    def section(self, tls: Mapping[str, object] | None) -> dict[str, object]:
        """The server's own word for it."""
        section: dict[str, object] = {
            "name": CLUSTER_NAME,
            "listen": f"0.0.0.0:{CLUSTER_PORT}",
            "pool_size": ROUTE_CONNECTIONS,
            # Clients are told all members in their settings; addresses by which only members know each other help none.
            "no_advertise": True,
            "authorization": {"user": CLUSTER_USER, "password": self.password},
            "routes": [f"nats-route://{CLUSTER_USER}:{self.password}@{host}:{CLUSTER_PORT}" for host in self.members],
        }
        if tls is not None:
            section["tls"] = {**tls, "verify": True}
        return section


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
    cluster: NatsCluster | None = None
    """None: a server on its own."""

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
        tls: dict[str, object] | None = None
        if self.tls_folder is not None:
            tls = {
                "cert_file": f"{self.tls_folder}/server.pem",
                "key_file": f"{self.tls_folder}/server.key",
                "ca_file": f"{self.tls_folder}/ca.pem",
            }
            # Before anything is said: nobody between the two can talk a client out of it.
            config["tls"] = {**tls, "handshake_first": True}
        if self.cluster is not None:
            config["cluster"] = self.cluster.section(tls)
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
