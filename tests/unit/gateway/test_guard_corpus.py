"""The guard over whole corpora. The oracle of a path is the object that opening it reaches, not how it looks."""

import os
import unicodedata
from itertools import product
from pathlib import Path
from urllib.parse import unquote

import pytest
from pydantic import JsonValue
from support.guard_corpus import CWD, benign_commands, benign_paths, hostile_commands, hostile_paths, judge_operation
from support.vectors import load, vectors_folder

from hookbus.contracts.decisions import Verdict
from hookbus.gateway.guard.effort import GuardMode
from hookbus.gateway.guard.paths import Workspace, judge_path

HOSTILE_PATHS_MIN = 500
HOSTILE_COMMANDS_MIN = 300
BENIGN_MIN = 500
TAGGED_BENIGN_MAX = 5
"""One benign command writes an alert into a page, in five surroundings: in form it is the attack itself."""
STRICT = GuardMode.STRICT
TARGETS = (
    "etc/passwd",
    "etc/shadow",
    "etc/hosts",
    "root/.bashrc",
    "home/other/notes.txt",
    "home/dev/.bashrc",
    "home/dev/.ssh/id_ed25519",
    "home/dev/web2/app.py",
    "proc/self/environ",
    "var/log/syslog",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root folder of its own in which every target exists, and the workspace with some folders."""
    root = tmp_path_factory.mktemp("world").resolve()
    for name in (*TARGETS, f"{CWD}/src/app.py", f"{CWD}/x/y", "tmp/x"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return root


def readings(path: str) -> set[str]:
    """The texts a program may open for ``path``."""
    plain = path[7:] if path[:7].lower() == "file://" else path
    return {plain, unquote(plain), unicodedata.normalize("NFKC", plain)}


def opened(world: Path, reading: str) -> Path | None:
    """The object that opening ``reading`` in the workspace reaches, with ``world`` for the root folder."""
    text = f"{world}/{reading.lstrip('/')}" if reading.startswith("/") else f"{world}/{CWD}/{reading}"
    # The root folder's own parent is itself; the world's is not, so steps up end at the world here too.
    parts: list[str] = []
    for part in os.path.relpath(text, world).split("/") if ".." not in text else text[len(str(world)) :].split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    try:
        descriptor = os.open(world / "/".join(parts), os.O_RDONLY)
    except OSError:
        return None
    try:
        return Path(f"/proc/self/fd/{descriptor}").readlink()
    finally:
        os.close(descriptor)


def judge(command: str, tool: str = "Bash", mode: GuardMode = GuardMode.LENIENT) -> Verdict | None:
    data: dict[str, JsonValue] = {"tool": tool, "tool_input": {"command": command}, "cwd": f"/{CWD}"}
    finding = judge_operation(data, ("/tmp",), mode).finding
    return None if finding is None else finding.verdict


def judge_file(path: str, *, write: bool, mode: GuardMode = GuardMode.LENIENT) -> Verdict | None:
    tool = "Write" if write else "Read"
    data: dict[str, JsonValue] = {"tool": tool, "tool_input": {"file_path": path}, "cwd": f"/{CWD}"}
    finding = judge_operation(data, ("/tmp",), mode).finding
    return None if finding is None else finding.verdict


def test_no_hostile_path_opens_a_file_outside(world: Path) -> None:
    """Each path really reaches a file outside in one of its readings, and each is denied."""
    paths = hostile_paths()
    assert len(paths) >= HOSTILE_PATHS_MIN
    reaching = 0
    for path in paths:
        objects = [found for reading in readings(path) if (found := opened(world, reading)) is not None]
        outside = [one for one in objects if not one.is_relative_to(world / CWD)]
        reaching += bool(outside)
        for write, mode in product((False, True), GuardMode):
            assert not outside or judge_file(path, write=write, mode=mode) is Verdict.DENY, path
    assert reaching >= HOSTILE_PATHS_MIN, "a corpus that reaches nothing proves nothing"


def test_no_hostile_command_passes() -> None:
    commands = hostile_commands()
    assert len(set(commands)) >= HOSTILE_COMMANDS_MIN
    passed = [
        command for command, mode in product(commands, GuardMode) if judge(command, mode=mode) is not Verdict.DENY
    ]
    assert passed == []


@pytest.mark.parametrize("mode", GuardMode)
def test_a_normal_session_is_left_alone(mode: GuardMode) -> None:
    """In strict mode too, but for the texts that lenient mode tags."""
    paths, commands = benign_paths(), benign_commands()
    assert len({*paths, *commands}) >= BENIGN_MIN
    refused = [path for path in paths if judge_file(path, write=True, mode=mode) is not None]
    refused += [
        command
        for command in commands
        if judge(command, mode=mode) is not None and not (mode is STRICT and tagged(command))
    ]
    assert refused == []
    assert sum(map(tagged, commands)) <= TAGGED_BENIGN_MAX


def tagged(command: str) -> bool:
    data: dict[str, JsonValue] = {"tool": "Bash", "tool_input": {"command": command}, "cwd": f"/{CWD}"}
    return bool(judge_operation(data, ("/tmp",)).tags)


def test_naughty_strings_open_nothing_outside(world: Path) -> None:
    """As a path each either is refused or reaches nothing outside; as a command each is answered."""
    workspace = Workspace.of(f"/{CWD}", ())
    strings: list[str] = [text for text in load(vectors_folder("blns") / "blns.json") if text]
    assert len(strings) > 400
    for text in strings:
        judge(text)
        if judge_path(text, workspace, write=False) is None:
            for reading in readings(text):
                found = None if "\0" in reading else opened(world, reading)
                assert found is None or found.is_relative_to(world / CWD), text


def test_a_link_out_of_the_workspace_is_what_letters_cannot_show(world: Path) -> None:
    """The guard runs where the files are not: this states its bound, so that nobody trusts it for more."""
    link = world / CWD / "link"
    link.symlink_to(world / "etc")
    try:
        reached = opened(world, "link/passwd")
        assert reached is not None
        assert not reached.is_relative_to(world / CWD)
        assert judge_path("link/passwd", Workspace.of(f"/{CWD}", ()), write=False) is None
    finally:
        link.unlink()


def test_commands_without_end_are_asked_about_and_the_first_are_still_judged() -> None:
    assert judge("a;" * 900) is None
    assert judge("a;" * 30_000) is Verdict.ASK
    assert judge("rm -rf /;" + "a;" * 30_000) is Verdict.DENY
