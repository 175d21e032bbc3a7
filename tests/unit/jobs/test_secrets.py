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
    config = json.loads(settings.places.nats_config("nats").read_text())
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


def test_without_tls_there_is_no_authority(settings: JobSettings) -> None:
    secrets.run(settings)
    assert not [
        name for name in files_of(settings.secrets_root) if name.endswith((".pem", ".key")) and "signing" not in name
    ]
    assert "tls" not in json.loads(settings.places.nats_config("nats").read_text())


def test_with_tls_a_client_that_says_anything_in_plain_text_is_not_heard(tmp_path: Path) -> None:
    settings = JobSettings(secrets_root=tmp_path, tls=True)
    secrets.run(settings)
    config = json.loads(settings.places.nats_config("nats").read_text())
    assert config["tls"] == {
        "cert_file": "/secrets/own/server.pem",
        "key_file": "/secrets/own/server.key",
        "ca_file": "/secrets/own/ca.pem",
        "handshake_first": True,
    }


def test_the_authority_is_everywhere_and_its_key_with_the_jobs_alone(tmp_path: Path) -> None:
    settings = JobSettings(secrets_root=tmp_path, tls=True)
    secrets.run(settings)
    contents = files_of(tmp_path)
    authority = contents["jobs/ca.pem"]
    for process in (*SERVICES, "gateway", "nats", "postgres"):
        assert contents[f"{process}/ca.pem"] == authority
    assert [name for name, text in contents.items() if text == contents["jobs/ca.key"]] == ["jobs/ca.key"]
    for process in ("nats", "postgres"):
        assert f"{process}/server.key" in contents
    test_nobody_else_reads_a_secret(settings)
    secrets.run(settings)
    assert files_of(tmp_path) == contents


def test_the_members_of_a_cluster_know_each_other_and_differ_by_name(tmp_path: Path) -> None:
    members = ("nats", "nats-2", "nats-3")
    settings = JobSettings(secrets_root=tmp_path, nats_members=members, tls=True)
    secrets.run(settings)
    configs = {one: json.loads(settings.places.nats_config(one).read_text()) for one in members}
    assert {one: config.pop("server_name") for one, config in configs.items()} == {one: one for one in members}
    first = configs["nats"]
    assert all(config == first for config in configs.values())
    password = (tmp_path / "jobs" / "nats_route").read_text()
    assert first["cluster"]["routes"] == [f"nats-route://route:{password}@{one}:6222" for one in members]
    assert first["cluster"]["tls"]["verify"] is True
    # Who may join as a member may do everything: no service is told how.
    holders = {name.split("/")[0] for name, text in files_of(tmp_path).items() if password in text}
    assert holders == {"jobs", "nats"}
