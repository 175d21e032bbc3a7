"""Addresses of a container installation, from the environment."""

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from hookbus.jobs.places import ROOT_DEFAULT, Places
from hookbus.platform.database.provision import DATABASE


class JobSettings(BaseSettings):
    """Each field is ``HOOKBUS_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="HOOKBUS_", env_ignore_empty=True, extra="ignore", frozen=True)

    secrets_root: Path = Path(ROOT_DEFAULT)
    nats_url: str = "nats://nats:4222"
    nats_ca_file: Path | None = None
    nats_replicas: int = 1
    """How many servers keep each stream and bucket: no more than there are."""
    nats_members: tuple[str, ...] = ("nats",)
    """The bus's servers by host name, a JSON list. More than one is a cluster."""
    postgres_host: str = "postgres"
    postgres_port: int = 5432
    nats_listen: str = "0.0.0.0:4222"
    nats_monitor_listen: str = "127.0.0.1:8222"
    nats_store: str = "/data/jetstream"
    tls: bool = False
    """Whether bus and database speak TLS: their certificates are made and renewed with the other secrets."""
    gateway_url: str = "http://localhost:8787"
    """Where people and hooks reach the gateway: written into the first client's settings."""

    @property
    def places(self) -> Places:
        """The folders of the secrets."""
        return Places(self.secrets_root)

    def database_url(self, role: str, password: SecretStr, database: str = DATABASE) -> str:
        """A role's address, password included."""
        host = f"{self.postgres_host}:{self.postgres_port}"
        return f"postgresql://{role}:{password.get_secret_value()}@{host}/{database}"
