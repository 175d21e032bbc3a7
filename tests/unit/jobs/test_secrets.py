"""Secrets of a container installation: made once, readable by their owner, each process's own in its own folder."""

import json
import stat
from pathlib import Path

import pytest

from hookbus.embedded.nats_permissions import PROVISION_USER, USERS
from hookbus.jobs import secrets
from hookbus.jobs.settings import JobSettings

SERVICES = ("budget", "session", "audit", "traces")


def files_of(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    return JobSettings(secrets_root=tmp_path / "secrets")


def test_a_second_run_changes_nothing(settings: JobSettings) -> None:
    secrets.run(settings)
    first = files_of(settings.secrets_root)
    secrets.run(settings)
    assert files_of(settings.secrets_root) == first
    assert first


def test_nobody_else_reads_a_secret(settings: JobSettings) -> None:
    secrets.run(settings)
    for path in settings.secrets_root.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_the_bus_knows_each_user_by_the_password_its_service_was_given(settings: JobSettings) -> None:
    secrets.run(settings)
    config = json.loads(settings.places.nats_config.read_text())
    passwords = {user["user"]: user["password"] for user in config["authorization"]["users"]}
    assert set(passwords) == set(USERS)
    assert len(set(passwords.values())) == len(USERS)
    for user in set(USERS) - {PROVISION_USER}:
        assert (settings.places.service(user) / "hookbus_nats_password").read_text() == passwords[user]


def test_a_service_is_given_its_own_role_and_no_other_password(settings: JobSettings) -> None:
    secrets.run(settings)
    contents = files_of(settings.secrets_root)
    for service in SERVICES:
        address = contents[f"{service}/hookbus_database_url"]
        assert address.startswith(f"postgresql://hookbus_{service}:")
        assert address.endswith("@postgres:5432/hookbus")
    superuser = contents["postgres/password"]
    assert not [name for name, text in contents.items() if superuser in text and name != "postgres/password"]
    assert not (settings.places.service("gateway") / "hookbus_database_url").exists()


def test_an_address_asks_for_tls_where_the_installation_does(tmp_path: Path) -> None:
    settings = JobSettings(secrets_root=tmp_path, postgres_options="?ssl=verify-full", nats_tls_folder="/tls")
    secrets.run(settings)
    assert (tmp_path / "budget" / "hookbus_database_url").read_text().endswith("/hookbus?ssl=verify-full")
    config = json.loads(settings.places.nats_config.read_text())
    assert config["tls"] == {
        "cert_file": "/tls/server.pem",
        "key_file": "/tls/server.key",
        "ca_file": "/tls/ca.pem",
    }
