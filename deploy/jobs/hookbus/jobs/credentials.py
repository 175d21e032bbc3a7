"""The first API keys and the first administrator, kept where a person can read them."""

import sys

from hookbus.embedded import credentials
from hookbus.embedded.jobs import keys
from hookbus.embedded.layout import Layout
from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.orders import KeysOrder
from hookbus.jobs.secrets import nats_password
from hookbus.jobs.settings import JobSettings


def run(settings: JobSettings) -> None:
    """Ask the session service for what no file holds yet."""
    layout = Layout(settings.places.credentials)
    missing = credentials.missing_keys(layout)
    administrator = credentials.missing_administrator(layout)
    if missing or administrator is not None:
        order = KeysOrder(
            nats_url=settings.nats_url,
            nats_password=nats_password(settings, PROVISION_USER),
            nats_ca_file=settings.nats_ca_file,
            keys=tuple(missing),
            administrator=administrator,
        )
        result = keys.run(order)
        for request, api_key in zip(missing, result.api_keys, strict=True):
            credentials.keep_key(layout, request, api_key)
        if administrator is not None:
            credentials.keep_one_time_password(layout, result.one_time_password)
    credentials.keep_url(layout, settings.gateway_url)


def show(settings: JobSettings) -> None:
    """Print the administrator's credential and the client's settings: for the person at the terminal."""
    layout = Layout(settings.places.credentials)
    sys.stdout.write(layout.admin_file.read_text(encoding="utf-8"))
    sys.stdout.write(layout.client_file.read_text(encoding="utf-8"))
