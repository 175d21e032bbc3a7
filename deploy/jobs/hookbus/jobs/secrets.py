"""Generate what is secret, once: a second run changes nothing but the configuration that follows from it."""

from typing import Final

from pydantic import SecretStr

from hookbus.audit.signing.files import create_key_file
from hookbus.embedded.files import make_folder, read_or_create_password, write_secret_file
from hookbus.embedded.nats_config import CLUSTER_USER, NatsCluster, NatsConfig
from hookbus.embedded.nats_permissions import PROVISION_USER, USERS
from hookbus.jobs import certificates
from hookbus.jobs.settings import JobSettings
from hookbus.platform.database.provision import OWNER, SCHEMAS, service_role

OWN_FOLDER: Final = "/secrets/own"
"""Where each container finds the volume that is its own."""


def nats_password(settings: JobSettings, user: str) -> str:
    """A bus user's password, generated at the first call."""
    return read_or_create_password(make_folder(settings.places.jobs) / f"nats_{user}")


def role_password(settings: JobSettings, role: str) -> SecretStr:
    """A database role's password, generated at the first call."""
    return SecretStr(read_or_create_password(make_folder(settings.places.jobs) / role))


def role_passwords(settings: JobSettings) -> dict[str, SecretStr]:
    """The password of the owner and of each service's role."""
    return {role: role_password(settings, role) for role in (OWNER, *(service_role(schema) for schema in SCHEMAS))}


def superuser_url(settings: JobSettings) -> str:
    """The address of the database every server has, as its superuser."""
    password = SecretStr(read_or_create_password(settings.places.postgres_password))
    return settings.database_url("postgres", password, database="postgres")


def run(settings: JobSettings) -> None:
    """Write the files of every process. Blocks."""
    places = settings.places
    for path in (places.postgres_password, places.grafana_password, places.audit_passphrase):
        make_folder(path.parent)
        read_or_create_password(path)
    for folder in (places.nats, places.signing_key.parent):
        make_folder(folder)
    if not places.signing_key.exists():
        create_key_file(places.signing_key)
    for user in USERS:
        password = nats_password(settings, user)
        if user != PROVISION_USER:
            write_secret_file(make_folder(places.service(user)) / "hookbus_nats_password", password)
    for schema in SCHEMAS:
        role = service_role(schema)
        address = settings.database_url(role, role_password(settings, role))
        write_secret_file(make_folder(places.service(schema)) / "hookbus_database_url", address)
    read_or_create_password(make_folder(places.service("session")) / "hookbus_token_passphrase")
    if settings.tls:
        _keep_certificates(settings)
    _write_bus_configurations(settings)


def _keep_certificates(settings: JobSettings) -> None:
    places, now = settings.places, certificates.utc_now()
    authority = certificates.read_or_create_authority(places.jobs, now)
    certificates.keep_server_certificate(authority, places.nats, settings.nats_members, now)
    certificates.keep_server_certificate(authority, places.postgres, (settings.postgres_host,), now)
    for name in {*USERS, *SCHEMAS} - {PROVISION_USER}:
        certificates.keep_authority_certificate(authority, places.service(name))


def _write_bus_configurations(settings: JobSettings) -> None:
    """A file for each member; they differ by the name alone."""
    members = settings.nats_members
    cluster = NatsCluster(members, nats_password(settings, CLUSTER_USER)) if len(members) > 1 else None
    for member in members:
        config = NatsConfig(
            name=member,
            listen=settings.nats_listen,
            monitor_listen=settings.nats_monitor_listen,
            store=settings.nats_store,
            passwords={user: nats_password(settings, user) for user in USERS},
            tls_folder=OWN_FOLDER if settings.tls else None,
            cluster=cluster,
        )
        write_secret_file(settings.places.nats_config(member), config.render())
