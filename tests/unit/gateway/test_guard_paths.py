"""The path guard: hostile paths never pass, the paths of a normal session always do."""

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.contracts.decisions import DecisionCode, Verdict
from hookbus.gateway.guard.paths import Workspace, judge_path

CWD = "/home/dev/web"
WORKSPACE = Workspace.of(CWD, ("/tmp", "/srv/shared"))

OUTSIDE = [
    "/",
    "/etc/passwd",
    "/etc/hostname",
    "//etc/passwd",
    "///etc/passwd",
    "/etc/../etc/passwd",
    "..",
    "../x",
    "../web2/x",
    "../../../etc/passwd",
    "src/../../other/x",
    "./././../x",
    "/home/dev/web/../x",
    "/home/dev/web/../../../etc/passwd",
    "/home/dev/web2/x",
    "/home/dev/website",
    "/home/dev/.bashrc",
    "/home/other/web/x",
    "/HOME/DEV/WEB/x",
    "/root/.bashrc",
    "~/notes.txt",
    "~root/x",
    "~other/.claude/x",
    "/home/dev/.claude/../.bashrc",
    "/home/other/.claude/settings.json",
    "/tmp/../etc/passwd",
    "/tmpfile",
    "/srv/shared/../secret",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file://../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "%2fetc%2fpasswd",
    "/home/dev/web/%2e%2e/x",
    "\uff0e\uff0e/x",
    "\u2025/x",
    "src/\uff0e\uff0e/\uff0e\uff0e/x",
    "/proc/self/environ",
    "/proc/1/root/etc/passwd",
    "/dev/sda",
    "/dev/mem",
    "/sys/kernel",
    "C:\\Windows\\System32\\config\\SAM",
    "c:/Windows/x",
    "\\\\server\\share\\x",
    "\\\\?\\C:\\x",
    "C:",
]
CREDENTIALS = [
    "/home/dev/.ssh/id_ed25519",
    "~/.ssh/id_rsa",
    "~/.aws/credentials",
    "/home/dev/.gnupg/secring.gpg",
    "/home/dev/.netrc",
    "/home/dev/.hookbus/client.toml",
    "/etc/shadow",
    "/etc/sudoers.d/x",
    "/home/dev/.SSH/id_rsa",
]
INSIDE = [
    ".",
    "src/app.py",
    "./src/app.py",
    "src/../src/app.py",
    "/home/dev/web",
    "/home/dev/web/",
    "/home/dev/web/src/..hidden/x",
    "/home/dev/web/a/b/c/../../d",
    "...",
    "src/...",
    "a..b",
    "/tmp",
    "/tmp/build-123/out.log",
    "/srv/shared/data.csv",
    "/home/dev/.claude/plans/today.md",
    "~/.claude/todos/1.json",
    "/home/dev/web/.env.example",
    "/home/dev/web/100% done.txt",
    "/home/dev/web/100%25.txt",
    "/home/dev/web/a b/c'd\"e.txt",
    "/home/dev/web/naïve/ファイル.txt",
    "/home/dev/web/node_modules/@scope/pkg/index.js",
    "/home/dev/web/weird\\name",
    "src/<script>.js",
    "src/'; DROP TABLE users; --.sql",
    "/dev/null",
    ".git/COMMIT_EDITMSG",
    "src/constructor.js",
    "CON.txt",
]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("write", [False, True])
def test_outside(path: str, write: bool) -> None:
    finding = judge_path(path, WORKSPACE, write=write)
    assert finding is not None
    assert (finding.verdict, finding.code) == (Verdict.DENY, DecisionCode.PATH_OUTSIDE_WORKSPACE)


@pytest.mark.parametrize("path", CREDENTIALS)
def test_credentials(path: str) -> None:
    """Not even beneath a root that contains the home."""
    for workspace in (WORKSPACE, Workspace.of("/home/dev", ())):
        finding = judge_path(path, workspace, write=False)
        assert finding is not None
        assert finding.verdict is Verdict.DENY


@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("write", [False, True])
def test_inside(path: str, write: bool) -> None:
    assert judge_path(path, WORKSPACE, write=write) is None


@pytest.mark.parametrize("path", ["a\x00b", "/home/dev/web/\x00/etc/passwd", "a\nb", "a\x1b[2Jb", "x" * 5_000])
def test_controls_and_length(path: str) -> None:
    finding = judge_path(path, WORKSPACE, write=False)
    assert finding is not None
    assert finding.code is DecisionCode.INPUT_REFUSED
    assert finding.reason.isprintable()


@pytest.mark.parametrize("path", ["/usr/include/stdio.h", "/usr/lib/python3.11/json/__init__.py", "/opt/tool/README"])
def test_what_a_system_installs_is_read_and_not_written(path: str) -> None:
    assert judge_path(path, WORKSPACE, write=False) is None
    assert judge_path(path, WORKSPACE, write=True) is not None


@pytest.mark.parametrize(
    "path",
    [
        ".claude/settings.json",
        ".git/hooks/pre-commit",
        ".git/config",
        "sub/.git/config",
        "/home/dev/.claude/settings.json",
    ],
)
def test_a_change_of_hooks_is_asked_about(path: str) -> None:
    assert judge_path(path, WORKSPACE, write=False) is None
    finding = judge_path(path, WORKSPACE, write=True)
    assert finding is not None
    assert finding.verdict is Verdict.ASK


@pytest.mark.parametrize("cwd", [None, "", "/", "//", "relative", "C:\\", "C:/", "/\x00"])
def test_without_a_workspace_only_relative_paths_stay_inside(cwd: str | None) -> None:
    workspace = Workspace.of(cwd, ())
    for path in ("/etc/passwd", "/x", "../x"):
        assert judge_path(path, workspace, write=False) is not None
    if workspace.cwd is None and not workspace.windows:
        assert judge_path("src/app.py", workspace, write=True) is None


def test_windows() -> None:
    workspace = Workspace.of("C:\\Users\\dev\\web", ())
    for path in ("src\\app.py", "C:/Users/dev/web/x", "c:\\users\\DEV\\web\\x", "C:\\Users\\dev\\.claude\\x"):
        assert judge_path(path, workspace, write=False) is None, path
    for path in (
        "..\\x",
        "C:\\Windows\\x",
        "D:\\x",
        "\\\\server\\share",
        "src\\NUL",
        "com1.txt",
        "file.txt:stream",
        "src.\\x",
        "C:x",
        "\\\\.\\PhysicalDrive0",
    ):
        assert judge_path(path, workspace, write=False) is not None, path


def test_a_decomposed_folder_is_its_own_workspace() -> None:
    """macOS spells accents in two characters; both spellings lie beneath the same root."""
    workspace = Workspace.of("/home/dev/cafe\u0301", ())
    assert judge_path("/home/dev/cafe\u0301/x", workspace, write=True) is None
    assert judge_path("src/x", Workspace.of("/home/dev/100%25", ()), write=True) is None


segments = st.sampled_from(["..", ".", "", "a", "etc", "web", "dev", "home", "%2e%2e", "tmp", "~", "\uff0e\uff0e"])


@given(st.lists(segments, max_size=8), st.booleans())
def test_whatever_passes_lies_beneath_a_root(parts: list[str], absolute: bool) -> None:
    """Oracle: the path a POSIX system would open, lexically resolved."""
    text = ("/" if absolute else "") + "/".join(parts)
    if not text or judge_path(text, WORKSPACE, write=True) is not None:
        return
    if text.startswith("~"):
        text = "/home/dev" + text[1:]
    opened = posixpath.normpath(posixpath.join(CWD, text))
    opened = "/" + opened.lstrip("/")
    assert any(
        opened == root or opened.startswith(root + "/") for root in (CWD, "/tmp", "/srv/shared", "/home/dev/.claude")
    )
