"""What must be there before a service starts: roles and schemas, streams and buckets; then the tables of each."""

from typing import Final

from hookbus.embedded.jobs import provision
from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.orders import Migration, ProvisionOrder
from hookbus.jobs.secrets import nats_password, role_passwords, superuser_url
from hookbus.jobs.settings import JobSettings
from hookbus.platform.database.migrate import upgrade
from hookbus.platform.database.provision import OWNER, SCHEMAS

PACKAGES: Final = {
    "budget": "hookbus.budget",
    "session": "hookbus.session",
    "audit": "hookbus.audit",
    "traces": "hookbus.embedded.traces",
}
"""Schema -> the package that holds its migrations."""
MIGRATIONS: Final = tuple(Migration(package=PACKAGES[schema], schema_name=schema) for schema in SCHEMAS)


def run_provision(settings: JobSettings) -> None:
    """Roles, database, schemas, streams, consumers, buckets. Repeating it changes only what differs."""
    passwords = role_passwords(settings)
    provision.run(
        ProvisionOrder(
            nats_url=settings.nats_url,
            nats_password=nats_password(settings, PROVISION_USER),
            nats_ca_file=settings.nats_ca_file,
            nats_replicas=settings.nats_replicas,
            superuser_url=superuser_url(settings),
            owner_url=settings.database_url(OWNER, passwords[OWNER]),
            role_passwords={role: password.get_secret_value() for role, password in passwords.items()},
            migrations=(),
        )
    )


def run_migrate(settings: JobSettings) -> None:
    """Every schema to its newest revision."""
    owner_url = settings.database_url(OWNER, role_passwords(settings)[OWNER])
    for migration in MIGRATIONS:
        upgrade(migration.package, owner_url, migration.schema_name)
