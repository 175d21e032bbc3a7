"""What the supervisor asks of a one-shot job, and what it gets back: JSON on stdin and stdout."""

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter

from hookbus.contracts.fields import WireModel
from hookbus.contracts.session import KeyCreateRequest


class Migration(WireModel):
    """Bring ``schema`` to the newest revision of ``package``."""

    package: str
    schema_name: str


class ProvisionOrder(WireModel):
    """Streams, consumers and buckets; roles, schemas and tables."""

    action: Literal["provision"] = "provision"
    nats_url: str
    nats_password: str
    nats_ca_file: Path | None = None
    nats_replicas: int = 1
    superuser_url: str
    owner_url: str
    role_passwords: dict[str, str]
    migrations: tuple[Migration, ...]


class KeysOrder(WireModel):
    """Create API keys, and the first administrator."""

    action: Literal["keys"] = "keys"
    nats_url: str
    nats_password: str
    nats_ca_file: Path | None = None
    keys: tuple[KeyCreateRequest, ...]
    administrator: str | None
    """The username to create; None where there is one already."""


class AuditSecretsOrder(WireModel):
    """Make the audit log's passphrase and signing key, where they are absent: for the first start alone."""

    action: Literal["audit-secrets"] = "audit-secrets"
    passphrase_file: Path
    signing_key_file: Path


class JobResult(WireModel):
    """What was created, in the order it was asked for; nothing of another order."""

    api_keys: tuple[str, ...] = ()
    one_time_password: str | None = None


Order: TypeAlias = ProvisionOrder | KeysOrder | AuditSecretsOrder
ORDERS: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="action")])
