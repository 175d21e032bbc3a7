"""The pure parts: pauses between restarts, what a service inherits, the subjects of each user, the client's file."""

import json
import stat
import tomllib
from pathlib import Path

import pytest

from hookbus.contracts.session import KeyScope
from hookbus.embedded import credentials
from hookbus.embedded.files import open_way, write_secret_file
from hookbus.embedded.layout import Layout, layout_of
from hookbus.embedded.nats_permissions import USERS, permissions_of
from hookbus.embedded.ports import PORT_MAX, PORT_MIN, free_ports, is_port_free
from hookbus.embedded.services import passed_on, url_of
from hookbus.embedded.supervisor import RESTART_BACKOFF_MAX_S, RESTART_BACKOFF_MIN_S, STABLE_S, Backoff

WHOLE_AGAIN_S = 15


def test_pauses_double_up_to_a_bound_that_leaves_time_to_be_whole_again() -> None:
    backoff = Backoff()
    pauses = [backoff.next_s(0.0) for _ in range(8)]
    assert pauses[0] == RESTART_BACKOFF_MIN_S
    assert pauses == sorted(pauses)
    assert pauses[-1] == RESTART_BACKOFF_MAX_S < WHOLE_AGAIN_S / 5


def test_a_stable_time_forgets_earlier_deaths() -> None:
    backoff = Backoff()
    for _ in range(8):
        backoff.next_s(0.0)
    assert backoff.next_s(STABLE_S) == RESTART_BACKOFF_MIN_S


def test_a_service_inherits_its_settings_and_no_credential_of_the_client() -> None:
    inherited = passed_on(
        {
            "PATH": "/bin",
            "HOOKBUS_ENV": "production",
            "HOOKBUS_CORS_ORIGINS": "[]",
            "HOOKBUS_API_KEY": "hbk_secret",
            "HOOKBUS_URL": "http://elsewhere",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere",
        }
    )
    assert inherited == {"PATH": "/bin", "HOOKBUS_ENV": "production", "HOOKBUS_CORS_ORIGINS": "[]"}


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("example.test", "http://example.test:1"),
    ],
)
def test_the_address_for_local_clients(host: str, url: str) -> None:
    assert url_of(host, 1) == url


@pytest.mark.parametrize("user", [user for user in USERS if user != "provision"])
def test_no_service_may_use_the_whole_bus(user: str) -> None:
    permissions = permissions_of(user)
    for subject in (*permissions.publish, *permissions.subscribe):
        assert subject not in {">", "*", "$JS.>", "$JS.API.>", "$KV.>", "_INBOX.>"}
    # The gateway alone listens: it passes events on to the readers of its live stream.
    assert user == "gateway" or all(not subject.startswith("hooks") for subject in permissions.subscribe)


def test_free_ports_differ_and_lie_below_the_outgoing_range() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(PORT_MIN <= port <= PORT_MAX for port in ports)
    assert all(is_port_free("127.0.0.1", port) for port in ports)


def test_the_data_folder_is_given_or_set_or_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("HOOKBUS_DATA_DIR", raising=False)
    assert layout_of(None).root == tmp_path / ".hookbus"
    monkeypatch.setenv("HOOKBUS_DATA_DIR", str(tmp_path / "set"))
    assert layout_of(None).root == tmp_path / "set"
    assert layout_of(tmp_path / "given").root == tmp_path / "given"


def test_credentials_are_asked_for_once_and_kept_closed(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert credentials.missing_keys(layout) == [credentials.ADMIN_KEY, credentials.CLIENT_KEY]
    credentials.keep_key(layout, credentials.ADMIN_KEY, "admin-key")
    credentials.keep_key(layout, credentials.CLIENT_KEY, "client-key")
    assert credentials.missing_keys(layout) == []
    assert json.loads(layout.admin_file.read_text())["api_key"] == "admin-key"
    for path in (layout.admin_file, layout.client_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert credentials.ADMIN_KEY.scopes == {KeyScope.ADMIN}


def test_what_a_person_wrote_into_the_client_file_stays(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.client_file.write_text('# mine\nurl = "http://old"\nagent_id = "me"\n')
    credentials.keep_key(layout, credentials.CLIENT_KEY, "key")
    credentials.keep_url(layout, "http://new:1")
    text = layout.client_file.read_text()
    assert tomllib.loads(text) == {"api_key": "key", "url": "http://new:1", "agent_id": "me"}
    assert "# mine" in text


def test_a_secret_file_is_never_open_even_where_an_open_one_stood(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_secret_file(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_the_way_is_opened_for_walking_only(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "outer").chmod(0o700)
    inner.chmod(0o700)
    other = tmp_path / "outer" / "other"
    other.mkdir(mode=0o700)
    open_way(inner / "target", uid=12345)
    assert stat.S_IMODE((tmp_path / "outer").stat().st_mode) == 0o701
    assert stat.S_IMODE(inner.stat().st_mode) == 0o701
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
