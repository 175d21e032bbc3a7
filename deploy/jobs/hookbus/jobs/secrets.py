"""Generate what is secret, once: a second run changes nothing but the configuration that follows from it."""

from pydantic import SecretStr

from hookbus.audit.signing.files import create_key_file
from hookbus.embedded.files import make_folder, read_or_create_password, write_secret_file
from hookbus.embedded.nats_config import NatsConfig
from hookbus.embedded.nats_permissions import PROVISION_USER, USERS
from hookbus.jobs.settings import JobSettings
from hookbus.platform.database.provision import OWNER, SCHEMAS, service_role


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
    for path in (places.nats_config, places.signing_key):
        make_folder(path.parent)
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
    config = NatsConfig(
        name="hookbus",
        listen=settings.nats_listen,
        monitor_listen=settings.nats_monitor_listen,
        store=settings.nats_store,
        passwords={user: nats_password(settings, user) for user in USERS},
        tls_folder=settings.nats_tls_folder,
    )
    write_secret_file(places.nats_config, config.render())
