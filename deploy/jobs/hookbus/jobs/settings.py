"""Addresses of a container installation, from the environment."""

from pathlib import Path

from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from hookbus.jobs.places import ROOT_DEFAULT, Places
from hookbus.platform.database.provision import DATABASE


class JobSettings(BaseSettings):
    """Each field is ``HOOKBUS_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix="HOOKBUS_", extra="ignore", frozen=True)

    secrets_root: Path = Path(ROOT_DEFAULT)
    nats_url: str = "nats://nats:4222"
    postgres_host: str = "postgres"
    postgres_port: int = 5432
    postgres_options: str = ""
    """What follows the database's name in an address: ``?ssl=verify-full`` where the server asks for TLS."""
    nats_listen: str = "0.0.0.0:4222"
    nats_monitor_listen: str = "0.0.0.0:8222"
    nats_store: str = "/data/jetstream"
    nats_tls_folder: str | None = None
    """Where nats-server finds ``server.pem``, ``server.key`` and ``ca.pem``; unset: connections are plain."""
    gateway_url: str = "http://localhost:8787"
    """Where people and hooks reach the gateway: written into the first client's settings."""

    @property
    def places(self) -> Places:
        """The folders of the secrets."""
        return Places(self.secrets_root)

    def database_url(self, role: str, password: SecretStr, database: str = DATABASE) -> str:
        """A role's address, password included."""
        host = f"{self.postgres_host}:{self.postgres_port}"
        return f"postgresql://{role}:{password.get_secret_value()}@{host}/{database}{self.postgres_options}"
