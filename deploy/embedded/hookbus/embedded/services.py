"""The services of the stack: their processes, in which order they start, and what each is given."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hookbus.embedded.files import make_folder, read_or_create_password, write_secret_file
from hookbus.embedded.layout import Layout
from hookbus.embedded.ports import LOOPBACK
from hookbus.embedded.probes import http_status
from hookbus.embedded.processes import ProcessSpec
from hookbus.embedded.supervisor import LIFE_CHECK_TIMEOUT_S, Unit

READY_TIMEOUT_S: Final = 60.0
"""A busy machine with cold caches included."""
READY_PATH: Final = "/readyz"
LIFE_PATH: Final = "/livez"

INHERITED_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
CLIENT_VARIABLES: Final = frozenset(
    {
        "HOOKBUS_URL",
        "HOOKBUS_API_KEY",
        "HOOKBUS_AGENT_ID",
        "HOOKBUS_PROJECT",
        "HOOKBUS_DATA_DIR",
        "HOOKBUS_FAIL_MODE",
        "HOOKBUS_SPOOL_KEY_FILE",
    }
)
"""Settings of the client: they say nothing to a service. Other ``HOOKBUS_`` variables of the caller are passed on."""


@dataclass(frozen=True)
class ServiceDefinition:
    """One service: ``python -m <module>``. ``module`` holds ``migrations`` where the service has a schema."""

    name: str
    module: str
    has_database: bool


TRACES: Final = ServiceDefinition("traces", "hookbus.embedded.traces", has_database=True)
SESSION: Final = ServiceDefinition("session", "hookbus.session", has_database=True)
BUDGET: Final = ServiceDefinition("budget", "hookbus.budget", has_database=True)
AUDIT: Final = ServiceDefinition("audit", "hookbus.audit", has_database=True)
GATEWAY: Final = ServiceDefinition("gateway", "hookbus.gateway", has_database=False)

BACKEND: Final = (SESSION, BUDGET, AUDIT)
"""Started together with the trace store once the bus and the database are provisioned; the gateway follows."""


@dataclass(frozen=True)
class Surroundings:
    """What all services of one run share."""

    layout: Layout
    nats_url: str
    nats_passwords: Mapping[str, str]
    database_urls: Mapping[str, str]
    """Service name -> its own role's address."""
    traces_port: int


def service_unit(definition: ServiceDefinition, surroundings: Surroundings, *, host: str, port: int) -> Unit:
    """A service as a supervised process; its secret files are written anew."""
    secrets_folder = make_folder(surroundings.layout.service_secrets(definition.name))
    write_secret_file(secrets_folder / "hookbus_nats_password", surroundings.nats_passwords[definition.name])
    if definition.has_database:
        write_secret_file(secrets_folder / "hookbus_database_url", surroundings.database_urls[definition.name])
    if definition is SESSION:
        passphrase = read_or_create_password(surroundings.layout.token_passphrase_file)
        write_secret_file(secrets_folder / "hookbus_token_passphrase", passphrase)
    environment = {
        **passed_on(os.environ),
        "HOOKBUS_SECRETS_DIR": str(secrets_folder),
        "HOOKBUS_NATS_URL": surroundings.nats_url,
        "HOOKBUS_NATS_USER": definition.name,
        "HOOKBUS_HTTP_HOST": host,
        "HOOKBUS_HTTP_PORT": str(port),
    }
    if definition is AUDIT:
        environment["HOOKBUS_AUDIT_PASSPHRASE_FILE"] = str(surroundings.layout.audit_passphrase_file)
        environment["HOOKBUS_AUDIT_KEYS_FILE"] = str(surroundings.layout.audit_keys_file)
        environment["HOOKBUS_AUDIT_SIGNING_KEY_FILE"] = str(surroundings.layout.audit_signing_key_file)
    # The trace store itself exports nothing: each of its own spans would beget others.
    if definition is not TRACES:
        environment["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{LOOPBACK}:{surroundings.traces_port}"
    probe_host = local_host(host)
    return Unit(
        spec=ProcessSpec(
            name=definition.name,
            argv=(sys.executable, "-P", "-m", definition.module),
            log_file=surroundings.layout.log_file(definition.name),
            environment=environment,
        ),
        is_ready=lambda: http_status(probe_host, port, READY_PATH) == 200,
        probe_host=probe_host,
        probe_port=port,
        probe_path=READY_PATH,
        ready_timeout_s=READY_TIMEOUT_S,
        is_alive=lambda: http_status(probe_host, port, LIFE_PATH, timeout_s=LIFE_CHECK_TIMEOUT_S) == 200,
    )


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the caller's environment a service inherits: the basics, and the ``HOOKBUS_`` settings of services."""
    return {
        name: value
        for name, value in environment.items()
        if name in INHERITED_VARIABLES or (name.startswith("HOOKBUS_") and name not in CLIENT_VARIABLES)
    }


def local_host(host: str) -> str:
    """Where a server that listens on ``host`` is reached from this machine."""
    return {"0.0.0.0": LOOPBACK, "::": "::1", "": LOOPBACK}.get(host, host)  # noqa: S104 - compared, not bound


def url_of(host: str, port: int) -> str:
    """The address of a server that listens on ``host``, for clients on this machine."""
    reached = local_host(host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
