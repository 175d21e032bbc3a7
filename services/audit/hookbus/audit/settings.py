"""Settings of the audit service."""

import importlib.util
import os
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, field_validator

from hookbus.audit.anchor_bucket import BucketAddress
from hookbus.audit.anchors import Witness
from hookbus.audit.keys import KEY_BYTES
from hookbus.audit.passphrases import random_passphrase
from hookbus.audit.sequencer import PARTITION_ENTRIES
from hookbus.audit.signing.files import write_private
from hookbus.audit.tiles import TILE_WIDTH
from hookbus.platform.settings import SECRETS_DIR_VARIABLE, DatabaseSettings, Environment

SIGNING_KEY_FILE_NAME: Final = "audit-signing.pem"
PASSPHRASE_FILE_NAME: Final = "audit-passphrase"  # noqa: S105 - the name of a file
KEYS_FILE_NAME: Final = "audit-keys.sqlite"
RETENTION_DAYS_MIN: Final = 1
RETENTION_DAYS_MAX: Final = 36_500
BUCKET_PATTERN: Final = r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[a-zA-Z0-9._/-]*)?$"
PARTITION_ENTRIES_MAX: Final = 16_777_216
"""The same bound stands in ``audit.ensure_partitions``."""


def _secret_file(name: str) -> Path:
    """Beside the service's other secrets, where it has a folder for them; else below the home folder."""
    folder = os.environ.get(SECRETS_DIR_VARIABLE)
    return (Path(folder) if folder is not None else Path.home() / ".hookbus" / "secrets" / "audit") / name


class AuditSettings(DatabaseSettings):
    """Two secret files, mode 0600 each. Where one is absent it is made, in development; production refuses to start.

    The signing key is read by the signer alone: a child process that sees no address and no password of this one, or,
    where ``audit_signer_socket`` is set, a process that runs elsewhere (``python -m hookbus.audit.signing``).
    """

    audit_signing_key_file: Path = Field(default_factory=lambda: _secret_file(SIGNING_KEY_FILE_NAME))
    """Ed25519 private key, PKCS#8 PEM. The last signed checkpoint is kept beside it, as ``<file>.last``."""

    audit_signer_socket: Path | None = None
    """The Unix socket of a signer that runs elsewhere; the key file is then none of this service's business."""

    audit_passphrase_file: Path = Field(default_factory=lambda: _secret_file(PASSPHRASE_FILE_NAME))
    """The passphrase from which the key-encryption key is derived; whoever has it and the database can read the log."""

    audit_kek_file: Path | None = None
    """The key-encryption key itself, 32 bytes, in place of a passphrase. A log that was written with the passphrase
    goes on with it until `hookbus audit rotate-key --to key-file`."""

    audit_keys_file: Path = Field(default_factory=lambda: _secret_file(KEYS_FILE_NAME))
    """The wrapped data keys. Back it up apart from the database: without it no entry can be read."""

    audit_anchor_file: Path | None = None
    """Every checkpoint is added to this file as well. Let it lie where the database's keeper cannot write."""

    audit_anchor_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Every checkpoint is sent to this address as well (POST, text/plain)."""

    audit_anchor_s3: Annotated[str, Field(pattern=BUCKET_PATTERN)] | None = None
    """Every checkpoint is put into this bucket as well, ``s3://bucket[/prefix]``. Needs ``hookbus-audit[s3]``."""

    audit_anchor_s3_endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """Where the bucket's service is, if it is not AWS."""

    audit_anchor_s3_region: str = "us-east-1"

    audit_anchor_s3_access_key_id: str | None = None
    """Unset: the credentials of the surroundings (AWS_ACCESS_KEY_ID, a role of the machine)."""

    audit_anchor_s3_secret_access_key: SecretStr | None = None

    audit_witnesses: tuple[str, ...] = ()
    """Witnesses that cosign, a JSON list of ``<http address> <verifier key>``."""

    audit_origin: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._/-]{1,100}$")] = "hookbus.local/audit"
    """The first part of the log's name; its random id follows."""

    audit_retention_days: Annotated[int, Field(ge=RETENTION_DAYS_MIN, le=RETENTION_DAYS_MAX)] | None = None
    """Entries older than this are pruned, a whole partition at a time. Unset: none ever is."""

    audit_partition_entries: Annotated[int, Field(ge=TILE_WIDTH, le=PARTITION_ENTRIES_MAX, multiple_of=TILE_WIDTH)] = (
        PARTITION_ENTRIES
    )
    """Entries in each new partition: the step in which retention works."""

    @property
    def anchor_bucket(self) -> BucketAddress | None:
        """The bucket of checkpoints; None where none is set."""
        if self.audit_anchor_s3 is None:
            return None
        secret = self.audit_anchor_s3_secret_access_key
        return BucketAddress(
            self.audit_anchor_s3,
            self.audit_anchor_s3_endpoint,
            self.audit_anchor_s3_region,
            self.audit_anchor_s3_access_key_id,
            None if secret is None else secret.get_secret_value(),
        )

    @field_validator("audit_anchor_s3")
    @classmethod
    def _bucket_can_be_reached(cls, url: str | None) -> str | None:
        if url is not None and importlib.util.find_spec("obstore") is None:
            raise ValueError("an S3 bucket needs the package obstore: install hookbus-audit[s3]")
        return url

    @field_validator("audit_witnesses")
    @classmethod
    def _witnesses_parse(cls, witnesses: tuple[str, ...]) -> tuple[str, ...]:
        for text in witnesses:
            Witness.parse(text)
        return witnesses


def may_create(settings: AuditSettings) -> bool:
    """Whether absent secret files are made up."""
    return settings.environment is not Environment.PRODUCTION


def prepare_secrets(settings: AuditSettings) -> None:
    """Make the passphrase or the key file where it is absent; in production FileNotFoundError for any absent secret."""
    key_file = settings.audit_kek_file
    needed = [settings.audit_passphrase_file if key_file is None else key_file]
    if settings.audit_signer_socket is None:
        needed.append(settings.audit_signing_key_file)
    for path in needed:
        if path.exists():
            continue
        if not may_create(settings):
            raise FileNotFoundError(f"{path}: the secret file is absent; in production it is never made up")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if key_file is not None:
        if not key_file.exists():
            write_private(key_file, os.urandom(KEY_BYTES))
    elif not settings.audit_passphrase_file.exists():
        write_private(settings.audit_passphrase_file, random_passphrase(os.urandom))
