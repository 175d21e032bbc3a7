"""Where everything lies in the data folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DATA_DIR_VARIABLE: Final = "HOOKBUS_DATA_DIR"
DATA_DIR_DEFAULT: Final = "~/.hookbus"


@dataclass(frozen=True)
class Layout:
    """The files and folders of one installation."""

    root: Path

    @property
    def lock_file(self) -> Path:
        """Locked by the supervisor while it runs."""
        return self.root / "lock"

    @property
    def run_file(self) -> Path:
        """What runs now: written by the supervisor, read by ``status`` and ``down``."""
        return self.root / "run.json"

    @property
    def admin_file(self) -> Path:
        """The administrator's credential, created at the first start."""
        return self.root / "admin.json"

    @property
    def client_file(self) -> Path:
        """Address and API key of the local client."""
        return self.root / "client.toml"

    @property
    def postgres_url_file(self) -> Path:
        """The database's superuser address, for backup tools."""
        return self.root / "postgres.url"

    @property
    def secrets(self) -> Path:
        """Passwords of servers and roles."""
        return self.root / "secrets"

    @property
    def token_passphrase_file(self) -> Path:
        """What the keys of access tokens are encrypted under: without it everybody logs in anew."""
        return self.secrets / "token_passphrase"

    @property
    def logs(self) -> Path:
        """One log for each process."""
        return self.root / "logs"

    def log_file(self, name: str) -> Path:
        """The log of one process."""
        return self.logs / f"{name}.log"

    def service_secrets(self, service: str) -> Path:
        """The folder of secret files one service is given."""
        return self.secrets / service

    @property
    def audit_passphrase_file(self) -> Path:
        """What the audit log is encrypted under: without it no entry can be read any more."""
        return self.root / "audit" / "passphrase"

    @property
    def audit_keys_file(self) -> Path:
        """The audit log's wrapped keys: in a folder of their own, which a backup of the rest can leave out."""
        return self.root / "audit-keys" / "keys.sqlite"

    @property
    def audit_signing_key_file(self) -> Path:
        """What the audit log's checkpoints are signed with."""
        return self.root / "audit" / "signing.pem"


def layout_of(data_dir: Path | None) -> Layout:
    """The layout of ``data_dir``; without one, of ``HOOKBUS_DATA_DIR`` or ``~/.hookbus``."""
    chosen = data_dir or Path(os.environ.get(DATA_DIR_VARIABLE) or DATA_DIR_DEFAULT)
    return Layout(chosen.expanduser().absolute())
