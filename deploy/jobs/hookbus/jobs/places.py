"""Where the secrets of a container installation lie: a folder, and in the compose file a volume, for each process."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT_VARIABLE: Final = "HOOKBUS_SECRETS_ROOT"
ROOT_DEFAULT: Final = "/secrets"


@dataclass(frozen=True)
class Places:
    """The folders below one root. The jobs see all of them; each other process sees its own."""

    root: Path

    @property
    def jobs(self) -> Path:
        """Passwords that only the jobs use again: of database roles and of bus users."""
        return self.root / "jobs"

    def nats_config(self, member: str) -> Path:
        """The configuration of one nats-server, its users' passwords in it."""
        return self.nats / f"{member}.conf"

    @property
    def nats(self) -> Path:
        """The bus's certificate, beside its configuration."""
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        """The database's certificate, beside its superuser's password."""
        return self.root / "postgres"

    @property
    def postgres_password(self) -> Path:
        """The superuser's password."""
        return self.postgres / "password"

    @property
    def grafana_password(self) -> Path:
        """The password of Grafana's user admin."""
        return self.root / "grafana" / "password"

    @property
    def signing_key(self) -> Path:
        """What checkpoints are signed with: for the signer alone."""
        return self.root / "signer" / "signing.pem"

    @property
    def audit_passphrase(self) -> Path:
        """What the audit log is encrypted under."""
        return self.root / "audit" / "passphrase"

    @property
    def credentials(self) -> Path:
        """What a person needs first: the administrator's key and one-time password."""
        return self.root / "credentials"

    def service(self, name: str) -> Path:
        """The settings of one service that are secret."""
        return self.root / name
