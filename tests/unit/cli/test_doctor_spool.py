"""The doctor's word on the spool is what an append would find."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hookbus.cli.doctor.surroundings import check_spool
from hookbus.client.settings import Settings
from hookbus.client.spool import Spool, SpoolError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings({"HOOKBUS_DATA_DIR": str(tmp_path / "data")})


def lock_is_a_folder(spool: Path, _monkeypatch: pytest.MonkeyPatch) -> None:
    (spool / "append.lock").unlink()
    (spool / "append.lock").mkdir()


def refused(suffix: str) -> Callable[[Path, pytest.MonkeyPatch], None]:
    """As another user's file refuses: these tests may run as one who may write any file."""

    def plant(_spool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        known = os.open

        def guarded(path: Any, flags: int, *more: Any, **named: Any) -> int:
            if str(path).endswith(suffix) and flags & (os.O_RDWR | os.O_WRONLY):
                raise PermissionError(13, "Permission denied", str(path))
            return known(path, flags, *more, **named)

        monkeypatch.setattr(os, "open", guarded)

    return plant


def test_a_spool_that_takes_an_event_is_green_and_keeps_what_waits(settings: Settings) -> None:
    assert check_spool(settings).ok
    Spool(settings.spool_dir).append([b"{}"])
    assert check_spool(settings).detail.endswith("1 events wait")
    assert sorted(path.suffix for path in Path(settings.spool_dir).iterdir()) == [".lock", ".seg"]


@pytest.mark.parametrize("plant", [lock_is_a_folder, refused("append.lock"), refused(".seg")])
def test_what_an_append_could_not_write_is_red_and_says_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, plant: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    Spool(settings.spool_dir).append([b"{}"])
    plant(Path(settings.spool_dir), monkeypatch)
    with pytest.raises(SpoolError):
        Spool(settings.spool_dir).append([b"{}"])
    found = check_spool(settings)
    assert not found.ok
    assert "cannot be written" in found.detail
    assert "yours and writable" in (found.remedy or "")


def test_a_folder_that_others_may_enter_is_closed_to_them_as_an_append_does_it(settings: Settings) -> None:
    folder = Path(settings.spool_dir)
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    assert check_spool(settings).ok
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
