"""Settings: secrets are made up in development alone, and an empty variable is an absent one."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from hookbus.audit.settings import AuditSettings, prepare_secrets

REQUIRED = {
    "HOOKBUS_NATS_USER": "audit",
    "HOOKBUS_NATS_PASSWORD": "p",
    "HOOKBUS_HTTP_PORT": "0",
    "HOOKBUS_DATABASE_URL": "postgresql://h/d",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOOKBUS_AUDIT_PASSPHRASE_FILE", str(tmp_path / "secrets" / "passphrase"))
    monkeypatch.setenv("HOOKBUS_AUDIT_SIGNING_KEY_FILE", str(tmp_path / "secrets" / "signing.pem"))
    return tmp_path


def test_development_makes_the_passphrase_for_its_owner_alone(folder: Path):
    settings = AuditSettings()  # pyright: ignore[reportCallIssue]  # the rest comes from the environment
    prepare_secrets(settings)
    made = (folder / "secrets" / "passphrase").read_bytes()
    assert (folder / "secrets" / "passphrase").stat().st_mode & 0o777 == 0o600
    assert len(made) > 60
    prepare_secrets(settings)
    assert (folder / "secrets" / "passphrase").read_bytes() == made


@pytest.mark.parametrize("present", ["passphrase", "signing.pem", None])
def test_production_makes_nothing_up(folder: Path, monkeypatch: pytest.MonkeyPatch, present: str | None):
    monkeypatch.setenv("HOOKBUS_ENV", "production")
    (folder / "secrets").mkdir()
    if present is not None:
        (folder / "secrets" / present).write_text("x")
    before = set((folder / "secrets").iterdir())
    with pytest.raises(FileNotFoundError, match="absent"):
        prepare_secrets(AuditSettings())  # pyright: ignore[reportCallIssue]  # as above
    assert set((folder / "secrets").iterdir()) == before


def test_an_empty_variable_is_an_absent_one(folder: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("SIGNER_SOCKET", "ANCHOR_FILE", "ANCHOR_URL", "WITNESSES"):
        monkeypatch.setenv(f"HOOKBUS_AUDIT_{name}", "")
    settings = AuditSettings()  # pyright: ignore[reportCallIssue]  # as above
    assert settings.audit_signer_socket is None
    assert settings.audit_anchor_file is None
    assert settings.audit_anchor_url is None
    assert settings.audit_witnesses == ()
    assert settings.nats_user == "audit"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOOKBUS_AUDIT_WITNESSES", '["ftp://w key"]'),
        ("HOOKBUS_AUDIT_WITNESSES", '["http://w no-key"]'),
        ("HOOKBUS_AUDIT_ANCHOR_URL", "file:///etc/passwd"),
        ("HOOKBUS_AUDIT_ORIGIN", "two words"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        AuditSettings()  # pyright: ignore[reportCallIssue]  # as above
