"""The runner's folder: what is opened always lies beneath the root. The oracle is the object that was opened."""

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.faults import sized

from hookbus.cli.runner import folder as folders
from hookbus.cli.runner.folder import OutsideError, open_beneath, path_of
from hookbus.cli.runner.shells import ENVIRONMENT, SHELLS, argv_of, filtered, find_shell, may_pass

RACES = sized(3_000, 50_000)
Opener = Callable[[Path, str], int]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with folders in it, and a folder beside it."""
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "web" / "src" / "deep").mkdir(parents=True)
    (tmp_path / "web" / "src" / "file").write_text("x")
    return tmp_path / "web"


def by_walk(root: Path, folder: str) -> int:
    base = os.open(root, os.O_DIRECTORY | os.O_RDONLY)
    try:
        return folders.walk(base, folder)
    finally:
        os.close(base)


@pytest.fixture(params=["openat2", "walk"])
def opener(request: pytest.FixtureRequest) -> Opener:
    """Both ways of opening; the second is what a kernel without ``openat2`` gets."""
    if request.param == "openat2" and not sys.platform.startswith("linux"):
        pytest.skip("openat2 is Linux's")
    return open_beneath if request.param == "openat2" else by_walk


def opened(opener: Opener, root: Path, folder: str) -> Path | None:
    """The folder that was opened, by its descriptor; None where it was refused."""
    try:
        descriptor = opener(root, folder)
    except (OutsideError, OSError):
        return None
    try:
        held, named = os.fstat(descriptor), path_of(descriptor)
        assert (held.st_dev, held.st_ino) == ((there := Path(named).stat()).st_dev, there.st_ino)
        return Path(named)
    finally:
        os.close(descriptor)


def test_folders_of_the_workspace_open(root: Path, opener: Opener) -> None:
    for name in (".", "", "src", "src/deep", "./src/./deep", "src//deep/"):
        assert opened(opener, root, name) == (root / name).resolve()


def test_an_absolute_folder_beneath_the_root_opens(root: Path) -> None:
    assert opened(open_beneath, root, str(root / "src")) == root / "src"
    assert opened(open_beneath, root, f"{root}/src/../src/deep") == root / "src/deep"
    for outside in ("/", "/tmp", str(root.parent), f"{root}2", f"{root}/../outside", "src\0"):
        with pytest.raises(OutsideError):
            open_beneath(root, outside)


def test_what_leads_out_is_refused(root: Path, opener: Opener) -> None:
    (root / "out").symlink_to(root.parent / "outside")
    (root / "up").symlink_to("../outside")
    (root / "chain").symlink_to("out")
    (root / "self").symlink_to("/proc/self/cwd")
    (root / "root").symlink_to("/proc/self/root")
    (root / "fd").symlink_to("/proc/self/fd")
    for name in (
        *("..", "../outside", "src/../../outside", "out", "out/deep", "up", "chain/deep", "self", "root", "fd"),
        *("/etc", "//etc", "src/../..", "a/../../outside"),
    ):
        with pytest.raises((OutsideError, OSError)):
            opener(root, name)


def test_no_fifo_device_or_file_is_opened(root: Path, opener: Opener) -> None:
    """None of them blocks the opening either."""
    os.mkfifo(root / "fifo")
    for name in ("fifo", "src/file", "missing"):
        with pytest.raises(OSError, match=r"."):
            opener(root, name)
    with pytest.raises((OSError, OutsideError)):
        opener(Path("/dev"), "null")


def test_a_link_swapped_in_while_it_is_opened_leads_nowhere(root: Path, opener: Opener) -> None:
    """A thread puts a link to the outside where a folder was, and back, while the folder is opened again and again."""
    inside, spare, target = root / "turn", root / "spare", root.parent / "outside"
    (inside / "deep").mkdir(parents=True)
    stop = threading.Event()
    swaps = 0

    def swap() -> None:
        nonlocal swaps
        while not stop.is_set():
            inside.rename(spare)
            inside.symlink_to(target)
            inside.unlink()
            spare.rename(inside)
            swaps += 1

    thread = threading.Thread(target=swap)
    thread.start()
    outside = {(one.st_dev, one.st_ino) for one in (target.stat(), (target / "deep").stat())}
    entered = attempts = 0
    try:
        # Counted by what was met, so that a slow or a fast machine sees the same: both outcomes must have come up.
        while attempts < RACES or not entered or swaps < RACES // 100:
            attempts += 1
            with suppress(OutsideError, OSError):
                descriptor = opener(root, "turn/deep")
                held = os.fstat(descriptor)
                os.close(descriptor)
                assert (held.st_dev, held.st_ino) not in outside
                entered += 1
    finally:
        stop.set()
        thread.join()


def test_only_five_shells_and_from_system_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert set(SHELLS) == {"bash", "sh", "zsh", "dash", "ksh"}
    planted = tmp_path / "bash"
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_shell("sh")
    assert found is not None
    assert found.endswith("/sh")
    assert find_shell("bash") != str(planted)
    for name in ("fish", "pwsh", "python3", "/bin/sh", "../bin/sh", "", "bash -x"):
        assert find_shell(name) is None


def test_the_command_never_becomes_shell_text() -> None:
    words = ["printf", "%s", "$(id); `id` && rm -rf / > x"]
    made = argv_of("/bin/sh", "sh", words)
    assert made[-3:] == words
    assert made[made.index("-c") + 1] == 'exec "$@"'


def test_the_environment_is_what_the_list_allows() -> None:
    given = {
        "PATH": "/usr/bin:.:relative:/bin:",
        "HOME": "/home/dev",
        "LC_ALL": "C",
        "SECRET_TOKEN": "x",
        "MINE": "1",
        "LD_PRELOAD": "x",
        "BASH_ENV": "x",
        "HOOKBUS_API_KEY": "hbk_x",
    }
    kept = filtered(given, ["MINE", "LD_PRELOAD", "BASH_ENV", "HOOKBUS_API_KEY"])
    assert kept == {"PATH": "/usr/bin:/bin", "HOME": "/home/dev", "LC_ALL": "C", "MINE": "1"}
    assert not any(map(may_pass, ("LD_PRELOAD", "BASH_ENV", "ENV", "HOOKBUS_API_KEY", "", "A=B")))
    assert "LD_LIBRARY_PATH" not in ENVIRONMENT
