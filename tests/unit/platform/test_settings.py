"""Settings are checked before anything starts, and a wrong one is named without its value."""

from pathlib import Path

import pytest

from hookbus.platform.settings import DatabaseSettings, load

COMPLETE = {
    "HOOKBUS_NATS_USER": "budget",
    "HOOKBUS_NATS_PASSWORD": "nats-secret",
    "HOOKBUS_HTTP_PORT": "8080",
    "HOOKBUS_DATABASE_URL": "postgresql://budget:db-secret@127.0.0.1/hookbus",
}


@pytest.fixture(autouse=True)
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def test_a_complete_environment_is_accepted_and_hides_its_secrets() -> None:
    settings = load(DatabaseSettings)
    assert settings.http_port == 8080
    assert "secret" not in repr(settings)


def test_a_missing_and_a_wrong_setting_are_named_without_their_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HOOKBUS_NATS_USER")
    monkeypatch.setenv("HOOKBUS_HTTP_PORT", "hunter2")
    with pytest.raises(SystemExit) as exit_:
        load(DatabaseSettings)
    assert exit_.value.code == 2
    told = capsys.readouterr().err
    assert "HOOKBUS_NATS_USER" in told
    assert "HOOKBUS_HTTP_PORT" in told
    assert "hunter2" not in told


@pytest.mark.parametrize("name", ["HOOKBUS_NATS_CA_FILE", "HOOKBUS_ENV", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_an_empty_variable_is_an_absent_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without = load(DatabaseSettings)
    monkeypatch.setenv(name, "")
    assert load(DatabaseSettings) == without


def test_an_empty_variable_is_no_value_for_what_must_have_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOOKBUS_NATS_PASSWORD", "")
    with pytest.raises(SystemExit):
        load(DatabaseSettings)
    assert "HOOKBUS_NATS_PASSWORD: Field required" in capsys.readouterr().err


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_a_secret_may_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: bool) -> None:
    if empty:
        monkeypatch.setenv("HOOKBUS_NATS_PASSWORD", "")
    else:
        monkeypatch.delenv("HOOKBUS_NATS_PASSWORD")
    (tmp_path / "hookbus_nats_password").write_text("from-file")
    monkeypatch.setenv("HOOKBUS_SECRETS_DIR", str(tmp_path))
    assert load(DatabaseSettings).nats_password.get_secret_value() == "from-file"
