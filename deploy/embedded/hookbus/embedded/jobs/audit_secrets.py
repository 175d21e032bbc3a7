"""The audit log's passphrase and signing key."""

from hookbus.audit.signing.files import create_key_file
from hookbus.embedded.files import make_folder, read_or_create_password
from hookbus.embedded.orders import AuditSecretsOrder, JobResult


def run(order: AuditSecretsOrder) -> JobResult:
    """Make what is absent."""
    make_folder(order.signing_key_file.parent)
    read_or_create_password(order.passphrase_file)
    if not order.signing_key_file.exists():
        create_key_file(order.signing_key_file)
    return JobResult()
