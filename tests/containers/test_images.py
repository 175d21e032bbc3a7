"""The images: what is in them, what is not, and as whom they run."""

import json
from typing import Any

import pytest
from support.compose import OWN_IMAGES, VERSION, docker, needs_containers

BYTES_MAX = 400 * 1024**2
"""Of each image, the base system's 173 MiB included."""
DATABASE_PACKAGES = {"asyncpg", "sqlalchemy", "alembic", "psycopg", "psycopg2", "hookbus-budget", "hookbus-audit"}
DISTRIBUTIONS = "import importlib.metadata as m, json; print(json.dumps([d.name.lower() for d in m.distributions()]))"

pytestmark = pytest.mark.timeout(300)


def facts(image: str) -> dict[str, Any]:
    needs_containers()
    found: list[dict[str, Any]] = json.loads(docker("image", "inspect", image))
    return found[0]


def distributions(image: str) -> set[str]:
    """The names of what is installed in an image, as Python itself sees it."""
    needs_containers()
    printed = docker("run", "--rm", "--network", "none", "--entrypoint", "python", image, "-P", "-c", DISTRIBUTIONS)
    return set(json.loads(printed))


def test_the_gateways_image_holds_no_database_driver() -> None:
    """Nor a service of its neighbours; the budget's, by the same look, holds one."""
    found = distributions(f"hookbus/gateway:{VERSION}")
    assert "hookbus-gateway" in found
    assert not found & DATABASE_PACKAGES
    assert distributions(f"hookbus/budget:{VERSION}") & DATABASE_PACKAGES >= {"asyncpg", "hookbus-budget"}


def test_an_image_holds_no_installer() -> None:
    """What runs is what was built: nothing in the service's environment fetches more."""
    assert not distributions(f"hookbus/gateway:{VERSION}") & {"pip", "setuptools", "uv"}


@pytest.mark.parametrize("image", OWN_IMAGES)
def test_an_image_runs_as_nobody_in_particular_says_what_it_is_and_is_not_big(image: str) -> None:
    found = facts(image)
    config = found["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["service"]
    assert config["Healthcheck"]["Test"][0] == "CMD", "a health check that needs no shell"
    labels = config["Labels"]
    name = image.removeprefix("hookbus/").removesuffix(f":{VERSION}")
    assert labels["org.opencontainers.image.title"] == f"hookbus-{name}"
    assert labels["org.opencontainers.image.version"] == VERSION
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert found["Size"] < BYTES_MAX


def test_no_image_holds_a_secret_in_its_history() -> None:
    for image in OWN_IMAGES:
        config = json.dumps(facts(image)["Config"]).lower()
        assert "password" not in config
        assert "hbk_" not in config
