"""The compose file as text: settings reach the service they are for, and the way out is opened by whoever runs it."""

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
INSTALL = ROOT / "docs" / "operating" / "install.md"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = ("gateway", "budget", "session", "audit", "traces")


@pytest.mark.parametrize("service", list(COMPOSE["services"]))
def test_a_service_reads_settings_of_its_own_where_there_are_any(service: str) -> None:
    own = [{"path": f"./settings/{service}.env", "required": False}]
    assert COMPOSE["services"][service].get("env_file", []) == (own if service in SERVICES else [])


def test_only_the_gateway_and_what_is_published_has_a_way_out() -> None:
    closed = {name for name, one in COMPOSE["networks"].items() if one.get("internal")}
    assert closed == COMPOSE["networks"].keys() - {"edge"}
    for name, service in COMPOSE["services"].items():
        assert set(service.get("networks", ())) <= closed or service["ports"], name


def test_the_override_of_the_manual_fits_the_file_it_is_laid_over() -> None:
    [text] = re.findall(r"```yaml\n( *# docker-compose\.override\.yml.*?)```", INSTALL.read_text(), re.DOTALL)
    override = yaml.safe_load(textwrap.dedent(text))
    assert override["services"].keys() <= COMPOSE["services"].keys()
    added = override["networks"].keys()
    assert not added & COMPOSE["networks"].keys()
    for service in override["services"].values():
        assert set(service["networks"]) <= added
