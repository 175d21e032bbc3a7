"""``.env.example`` names every setting with its default, and nothing else."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import AliasChoices, AliasPath
from pydantic_core import PydanticUndefined, to_jsonable_python

from hookbus.audit.settings import AuditSettings
from hookbus.budget.settings import BudgetSettings
from hookbus.embedded.traces.settings import TracesSettings
from hookbus.gateway.settings import GatewaySettings
from hookbus.platform.settings import ServiceSettings
from hookbus.session.settings import SessionSettings

ROOT = Path(__file__).parents[3]
SERVICES: tuple[type[ServiceSettings], ...] = (
    GatewaySettings,
    BudgetSettings,
    SessionSettings,
    AuditSettings,
    TracesSettings,
)
READ_BY_HAND = re.compile(r"""environ(?:\.get\(|\[)\s*"((?:HOOKBUS|OTEL)_[A-Z0-9_]+)\"""")
"""How clients, hooks and the command line read theirs."""
CLIENT_FOLDERS = ("shared/client", "shared/cli")
NOT_SET_BY_PEOPLE = frozenset(
    {
        "HOOKBUS_NATS_USER",
        "HOOKBUS_NATS_PASSWORD",
        "HOOKBUS_DATABASE_URL",
        "HOOKBUS_HTTP_PORT",
        "HOOKBUS_TOKEN_PASSPHRASE",
    }
)
"""Without a default: whoever starts a service says them; the example names them, empty."""


REQUIRED = {
    "HOOKBUS_NATS_USER": "user",
    "HOOKBUS_NATS_PASSWORD": "password",
    "HOOKBUS_HTTP_PORT": "8787",
    "HOOKBUS_DATABASE_URL": "postgresql://role@host/hookbus",
    "HOOKBUS_TOKEN_PASSPHRASE": "p" * 32,
}


def documented() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            assert name not in found, f"{name} stands twice"
            found[name] = value
    return found


def variable(name: str, alias: str | AliasPath | AliasChoices | None) -> str:
    return alias if isinstance(alias, str) else f"HOOKBUS_{name.upper()}"


def of_services() -> dict[str, Any]:
    """Every field of every service with its default."""
    found: dict[str, Any] = {}
    for settings in SERVICES:
        for name, field in settings.model_fields.items():
            default = field.get_default(call_default_factory=True, validated_data={})
            found[variable(name, field.validation_alias)] = default
    return found


def of_clients() -> set[str]:
    files = [path for folder in CLIENT_FOLDERS for path in (ROOT / folder).rglob("*.py")]
    return {name for path in files for name in READ_BY_HAND.findall(path.read_text(encoding="utf-8"))}


def test_every_setting_is_named_and_nothing_else() -> None:
    known = {*of_services(), *of_clients()}
    named = set(documented())
    assert {"HOOKBUS_URL", "HOOKBUS_FAIL_MODE", "HOOKBUS_GUARD_MODE", "HOOKBUS_NATS_URL"} <= known, (
        "the search is blind"
    )
    assert sorted(known - named) == []
    in_code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("shared", "services", "deploy")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert sorted(name for name in named - known if name not in in_code) == []


@pytest.mark.parametrize("settings", SERVICES, ids=lambda settings: settings.__name__)
def test_the_example_changes_nothing_where_it_is_given_as_it_is(
    settings: type[ServiceSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its blank lines too: what they name is unset, whatever its type."""
    for name in list(os.environ):
        if name.startswith(("HOOKBUS_", "OTEL_")):
            monkeypatch.delenv(name)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    without = settings.model_validate({})
    for name, value in documented().items():
        if name not in REQUIRED:
            monkeypatch.setenv(name, value)
    assert settings.model_validate({}) == without


@pytest.mark.parametrize(("name", "default"), sorted(of_services().items(), key=lambda item: item[0]))
def test_the_example_is_the_default(name: str, default: Any) -> None:
    given = documented().get(name, "")
    own_file = isinstance(default, Path) and default.is_relative_to(Path.home())
    if default is None or default is PydanticUndefined or own_file or name in NOT_SET_BY_PEOPLE:
        assert given == ""
        return
    plain = to_jsonable_python(default)
    expected = plain if isinstance(plain, str) else json.dumps(plain)
    if isinstance(plain, (list, tuple, dict)):
        assert json.loads(given) == plain
    elif isinstance(plain, (int, float)) and not isinstance(plain, bool):
        assert float(given) == float(plain)
    else:
        assert given == expected
