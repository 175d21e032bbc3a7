"""What goes into an image: the members its distribution names, and the pins of no other."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ("gateway", "budget", "session", "audit", "jobs")


@pytest.fixture(scope="module")
def members() -> ModuleType:
    spec = importlib.util.spec_from_file_location("members", ROOT / "deploy" / "members.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(image: str) -> dict[str, str]:
    lines = (ROOT / "deploy" / "locks" / f"{image}.lock").read_text().splitlines()
    return dict(line.split(" ")[0].split("==", 1) for line in lines if "==" in line)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_holds_no_other_service(members: ModuleType, image: str) -> None:
    folders = members.folders_of(f"hookbus-{image}")
    services = [folder for folder in folders if folder.startswith("services/")]
    assert services == ([f"services/{image}"] if image != "jobs" else services)
    assert folders[-1].endswith(image)
    assert "shared/contracts" in folders


def test_the_gateways_image_holds_no_database_driver() -> None:
    assert not {"sqlalchemy", "asyncpg", "alembic"} & set(pins("gateway"))
    assert {"sqlalchemy", "asyncpg", "alembic"} <= set(pins("budget"))


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_is_built_of_the_pins_that_the_tests_run_with(image: str) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    for name, version in pins(image).items():
        assert f"\n{name}=={version} " in lock, name


def test_a_name_that_no_member_has_is_an_error(members: ModuleType) -> None:
    with pytest.raises(KeyError):
        members.folders_of("hookbus-nobody")
