"""Paths, judged by their letters: the files lie on the agent's machine, so nothing here can open or resolve one.

A path is fine beneath a root: the folder the session runs in (``cwd``), the configured workspace roots, the temporary
folders, and the agent's own folder in the home of the user it runs as (:data:`AGENT_FOLDERS`). Programs may also read,
not write, what a system installs (:data:`SYSTEM_READ_ROOTS`). A path is read the way each program might read it: as it
stands, percent-decoded once, and in compatibility form (where a full-width dot is a dot); it must be fine in each.
"""

import ntpath
import posixpath
import re
import unicodedata
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from hookbus.contracts import limits
from hookbus.contracts.decisions import DecisionCode
from hookbus.gateway.guard.findings import Finding, asked, denied, shown
from hookbus.gateway.guard.structure import has_control

AGENT_FOLDERS: Final = (".claude", ".codex", ".gemini", ".cursor", ".copilot")
"""Where agents keep their own plans, memories and settings, in the home of their user."""

SYSTEM_READ_ROOTS: Final = (
    "/usr/include",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share",
    "/usr/local",
    "/opt",
    "/lib",
    "/lib64",
    "/Library",
    "/System/Library",
    "/Applications",
)
"""Headers, libraries and documentation that code is read against."""

DEVICES: Final = frozenset({"/dev/null", "/dev/zero", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty"})

PROTECTED_FILES: Final = (
    ".claude/settings.json",
    ".claude/settings.local.json",
    ".codex/hooks.json",
    ".codex/config.toml",
    ".gemini/settings.json",
    ".cursor/hooks.json",
    ".git/config",
)
"""Writing one of these can switch the guard off or run code later, so the person is asked."""
PROTECTED_FOLDERS: Final = (".git/hooks", ".github/hooks", ".husky/_")

CREDENTIAL_FOLDERS: Final = (".ssh", ".gnupg", ".aws", ".azure", ".kube", ".config/gcloud", ".hookbus", ".docker")
CREDENTIAL_FILES: Final = (".netrc", ".pgpass", ".npmrc", ".pypirc", ".git-credentials")
"""In a home folder; never an agent's business, not even beneath a root that happens to contain the home."""
SYSTEM_SECRETS: Final = ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/etc/sudoers.d", "/proc/kcore")

UNKNOWN_FOLDER: Final = "/.unknown-working-folder"
"""Stands for the working folder where the hook named none: a relative path that stays beneath it is fine."""

_HOME: Final = re.compile(r"(/root|/home/[^/]+|/Users/[^/]+|[A-Za-z]:/Users/[^/]+)(?=/|$)", re.IGNORECASE)
_DRIVE: Final = re.compile(r"[A-Za-z]:(?=[\\/]|$)")
_WINDOWS_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))}
)


@dataclass(frozen=True)
class Workspace:
    """Where one operation may work. ``cwd``, where it runs, is None where the hook named no absolute folder."""

    cwd: str | None
    roots: tuple[str, ...]
    windows: bool = False

    @classmethod
    def of(cls, cwd: str | None, configured: tuple[str, ...]) -> "Workspace":
        """The workspace of an operation that may work wherever it runs: in ``cwd``."""
        return cls.within(cwd, cwd, configured)

    @classmethod
    def within(cls, cwd: str | None, root: str | None, configured: tuple[str, ...]) -> "Workspace":
        """The workspace of an operation that runs in ``cwd`` and may work beneath ``root``.

        The root folder itself is no workspace.
        """
        named = cwd if cwd is not None else root
        windows = named is not None and (_DRIVE.match(named) is not None or named.startswith("\\\\"))
        folder = _absolute_folder(cwd, windows=windows)
        top = usable_folder(root, windows=windows)
        roots = _spellings(top) if top is not None else ()
        home = _HOME.match(top or folder or "")
        own = tuple(f"{home.group()}/{name}" for name in AGENT_FOLDERS) if home is not None else ()
        return cls(folder, (*roots, *(_normal(one, windows=windows) for one in configured), *own), windows)

    def holds(self, folder: str) -> bool:
        """Whether a normalised absolute folder lies in the workspace."""
        return any(_beneath(folder, root, fold_case=self.windows) for root in self.roots)


def usable_folder(folder: str | None, *, windows: bool = False) -> str | None:
    """``folder`` in normal form; None where it could be no workspace."""
    normal = _absolute_folder(folder, windows=windows)
    if normal is None or not normal.strip("/") or re.fullmatch(r"[A-Za-z]:/?", normal):
        return None
    return normal


def _absolute_folder(folder: str | None, *, windows: bool) -> str | None:
    if not folder or has_control(folder) or len(folder) > limits.FILE_NAME_CHARS_MAX:
        return None
    normal = _normal(folder, windows=windows)
    return normal if _is_absolute(normal) else None


def judge_path(text: str, workspace: Workspace, *, write: bool) -> Finding | None:
    """An objection to ``text`` as the path of a file to open, or None.

    Time is linear in the length of ``text``, which is bounded besides.
    """
    if len(text) > limits.FILE_NAME_CHARS_MAX:
        return denied(DecisionCode.INPUT_REFUSED, f"a path is over {limits.FILE_NAME_CHARS_MAX} characters")
    if has_control(text):
        return denied(DecisionCode.INPUT_REFUSED, f"the path {shown(text)!r} holds a control character")
    for reading in _readings(text):
        finding = _judge_reading(reading, text, workspace, write=write)
        if finding is not None:
            return finding
    return None


def _spellings(folder: str) -> tuple[str, ...]:
    """A root in each form in which :func:`_readings` may read a path beneath it."""
    forms = {folder: None, unicodedata.normalize("NFKC", folder): None}
    decoded = unquote(folder)
    if decoded.count("/") == folder.count("/") and not {"..", "."}.intersection(decoded.split("/")):
        forms[decoded] = None
    return tuple(forms)


def _readings(text: str) -> tuple[str, ...]:
    plain = text
    if plain[:7].lower() == "file://":
        plain = plain[7:]
    forms = {plain: None, unicodedata.normalize("NFKC", plain): None}
    if "%" in plain:
        forms[unquote(plain)] = None
    return tuple(forms)


def _judge_reading(reading: str, text: str, workspace: Workspace, *, write: bool) -> Finding | None:
    outside = denied(
        DecisionCode.PATH_OUTSIDE_WORKSPACE,
        f"{shown(text)} is outside the workspace" + (f" {shown(workspace.cwd)}" if workspace.cwd else ""),
    )
    windows = workspace.windows or _DRIVE.match(reading) is not None or reading.startswith("\\\\")
    absolute = None if has_control(reading) else _absolute(reading, workspace, windows=windows)
    if absolute is None:
        return outside
    normal = _normal(absolute, windows=windows)
    if is_credential(normal):
        return denied(DecisionCode.PATH_OUTSIDE_WORKSPACE, f"{shown(text)} holds credentials")
    if not _allowed(normal, workspace, write=write, windows=windows):
        return outside
    return _sensitive(normal, text, write=write)


def _absolute(reading: str, workspace: Workspace, *, windows: bool) -> str | None:
    """``reading`` as an absolute path, or None where it names nothing that could be allowed."""
    if windows and not _is_plain_windows(reading):
        return None
    if reading.startswith("~"):
        home = _HOME.match(workspace.cwd) if workspace.cwd is not None else None
        rest = reading[1:]
        if rest and not rest.startswith("/"):
            return None  # another user's home
        return f"{home.group() if home is not None else '/root'}{rest}"
    if _is_absolute(reading.replace("\\", "/") if windows else reading):
        return reading
    if workspace.cwd is not None:
        return f"{workspace.cwd}/{reading}"
    inside = posixpath.normpath(reading.replace("\\", "/"))
    return None if inside == ".." or inside.startswith("../") else f"{UNKNOWN_FOLDER}/{inside}"


def _allowed(normal: str, workspace: Workspace, *, write: bool, windows: bool) -> bool:
    if workspace.cwd is None and _beneath(normal, UNKNOWN_FOLDER):
        return True
    if normal in DEVICES or normal.startswith("/dev/fd/"):
        return True
    if any(_beneath(normal, root, fold_case=windows) for root in workspace.roots):
        return True
    home = _HOME.match(normal)
    if home is not None and workspace.cwd is not None and _HOME.match(workspace.cwd) is None:
        # The session runs outside any home (a container's /workspace): the agent's folder is in one all the same.
        return any(_beneath(normal, f"{home.group()}/{name}") for name in AGENT_FOLDERS)
    return not write and any(_beneath(normal, root) for root in SYSTEM_READ_ROOTS)


def _sensitive(normal: str, text: str, *, write: bool) -> Finding | None:
    folded = normal.casefold()
    if write and (
        any(folded.endswith(f"/{name}") for name in PROTECTED_FILES)
        or any(f"/{name}/" in f"{folded}/" for name in PROTECTED_FOLDERS)
    ):
        return asked(DecisionCode.INPUT_REFUSED, f"{shown(text)} steers hooks or git: a person should see this change")
    return None


def is_credential(normal: str) -> bool:
    """Whether a normalised absolute path names credentials."""
    folded = normal.casefold()
    if any(_beneath(folded, secret) for secret in SYSTEM_SECRETS):
        return True
    home = _HOME.match(folded)
    if home is None:
        return False
    rest = folded[home.end() :].lstrip("/")
    return rest in CREDENTIAL_FILES or any(_beneath(rest, folder) for folder in CREDENTIAL_FOLDERS)


def _is_plain_windows(reading: str) -> bool:
    """No UNC share, no device, no alternate stream, no trailing dot or space that Windows would drop."""
    path = reading.replace("\\", "/")
    if path.startswith("//"):
        return False
    drive, rest = ntpath.splitdrive(path)
    if ":" in rest or (drive and not rest.startswith("/")):
        return False
    for part in rest.split("/"):
        if part in ("", ".", ".."):
            continue
        if part.rstrip(". ") != part or part.split(".")[0].casefold() in _WINDOWS_DEVICES:
            return False
    return True


def _normal(path: str, *, windows: bool) -> str:
    """Lexically normal, with forward slashes."""
    if windows:
        return ntpath.normpath(path).replace("\\", "/").rstrip("/") or "/"
    normal = posixpath.normpath(path)
    return f"/{normal.lstrip('/')}" if normal.startswith("/") else normal


def _is_absolute(path: str) -> bool:
    return path.startswith("/") or _DRIVE.match(path) is not None


def _beneath(path: str, root: str, *, fold_case: bool = False) -> bool:
    if fold_case:
        path, root = path.casefold(), root.casefold()
    return path == root or path.startswith(f"{root.rstrip('/')}/")
