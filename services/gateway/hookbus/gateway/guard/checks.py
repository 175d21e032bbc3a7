"""What no coding session needs, program by program: judged by the words a program would get."""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from hookbus.contracts.decisions import DecisionCode
from hookbus.gateway.guard.findings import Finding, denied, shown
from hookbus.gateway.guard.folders import HERE, HOME_WORDS, located
from hookbus.gateway.guard.inner import find_roots
from hookbus.gateway.guard.paths import Workspace
from hookbus.gateway.guard.scene import Scene

WORD_UNITS: Final = 10
"""Judging a word that may name credentials or a tree."""

_STOPPERS: Final = frozenset({"shutdown", "reboot", "halt", "poweroff"})
_SYSTEMCTL_OPTIONS_WITH_VALUE: Final = frozenset(
    {"-H", "-M", "-t", "-p", "-P", "-n", "-o", "-s", "--host", "--machine", "--type", "--property", "--lines"}
    | {"--output", "--signal", "--root", "--job-mode", "--kill-whom", "--message", "--when", "--state", "--value"}
)
_FORMATTERS: Final = frozenset({"mkfs", "wipefs", "fdisk", "sfdisk", "parted", "mkswap"})
_TREE_CHANGERS: Final = frozenset({"chmod", "chown", "chgrp"})
_DEVICE: Final = re.compile(r"/dev/(sd|hd|vd|xvd|nvme|mmcblk|r?disk|loop|md|dm-|mapper/|mem|kmem|port)")


@dataclass(frozen=True)
class Setting:
    """What a command is judged in."""

    scene: Scene
    folder: str = HERE
    """Where it runs, seen from the working folder."""
    beneath: bool = False
    """It is run on all that lies beneath its words, as ``find`` does."""

    def located(self, word: str) -> str:
        """``word`` as it means the same file from the working folder."""
        return located(word, self.folder)

    @cached_property
    def _is_inside(self) -> bool:
        """Whether an ordinary name beneath the folder lies in the workspace and is no secret."""
        return not self.folder or self.scene.is_plain(self.folder) or self.scene.is_ordinary(self.folder)

    def goes_down(self, word: str) -> bool:
        """Whether ``word`` goes down by ordinary names alone from a folder of the workspace: most paths do."""
        return self.scene.is_plain(word) and self._is_inside

    def is_device(self, word: str) -> bool:
        """Whether ``word`` names a device that holds a file system or the memory, however it is written."""
        if "dev/" not in word:
            return False
        path = self.located(word)
        if not path.startswith("/"):
            path = f"{self.scene.workspace.cwd or ''}/{path}"
        return _DEVICE.match(f"/{posixpath.normpath(path).lstrip('/')}") is not None


Check = Callable[[str, list[str], Setting], Finding | None]


def refused(reason: str) -> Finding:
    """A command that is never run."""
    return denied(DecisionCode.COMMAND_REFUSED, reason)


def _check_removal(name: str, arguments: list[str], setting: Setting) -> Finding | None:
    if name == "rm" and "--no-preserve-root" in arguments:
        return refused("rm --no-preserve-root")
    whole = _changes_tree(name, arguments)
    if not whole and not setting.beneath:
        return None
    scene = setting.scene
    for word in find_roots(arguments) if name == "find" else [word for word in arguments if not word.startswith("-")]:
        if setting.goes_down(word):
            continue
        target = setting.located(word)
        scene.effort.spend(WORD_UNITS)
        if _is_broad(target, scene.workspace):
            return refused(f"{name} on all of {shown(target)}")
        if whole and name != "find" and _is_outside(target, scene):
            return refused(f"{name} -r outside the workspace: {shown(target)}")
    return None


def _changes_tree(name: str, arguments: list[str]) -> bool:
    """Whether the command removes or changes whole trees."""
    short = "".join(word[1:] for word in arguments if word.startswith("-") and not word.startswith("--"))
    if name == "rm":
        return "r" in short or "R" in short or "--recursive" in arguments
    if name in _TREE_CHANGERS:
        return "R" in short or "--recursive" in arguments
    return name == "find" and "-delete" in arguments


def _is_broad(target: str, workspace: Workspace) -> bool:
    """Whether ``target`` is the root, a folder directly below it, or a home."""
    bare = target.rstrip("/*").rstrip("/") if target not in ("/", "*") else target
    if target in ("/", "/*", "/.") or (target.startswith("/") and not bare) or bare in HOME_WORDS:
        return True
    if bare.startswith("~") and "/" not in bare:
        return True
    if not bare.startswith("/"):
        return False
    normal = posixpath.normpath(bare)
    if any(normal == root.rstrip("/") for root in workspace.roots):
        return False
    depth = normal.count("/")
    return depth == 1 or (depth == 2 and normal.startswith(("/home/", "/Users/", "/usr/", "/etc/", "/var/")))


def _is_outside(target: str, scene: Scene) -> bool:
    if "$" in target or scene.workspace.cwd is None:
        return False
    finding = scene.judge_path(target.rstrip("*") or ".", write=True)
    return finding is not None and finding.code is DecisionCode.PATH_OUTSIDE_WORKSPACE


def _check_format(name: str, arguments: list[str], setting: Setting) -> Finding | None:
    return refused(f"{name} on a device") if any(map(setting.is_device, arguments)) else None


def _check_device(name: str, arguments: list[str], setting: Setting) -> Finding | None:
    for word in arguments:
        target = word.partition("of=")[2] if name == "dd" else word
        if setting.is_device(target):
            return refused(f"{name} writes to the device {shown(target)}")
    return None


def _check_stop(name: str, arguments: list[str], _setting: Setting) -> Finding | None:
    if name in _STOPPERS or (name == "systemctl" and _verb(arguments) in _STOPPERS):
        return refused(f"{name} stops the machine")
    if name in ("init", "telinit") and arguments[:1] in (["0"], ["6"]):
        return refused(f"{name} {arguments[0]} stops the machine")
    return None


def _verb(arguments: list[str]) -> str:
    """The first word of ``systemctl`` that is neither an option nor the value of one."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in _SYSTEMCTL_OPTIONS_WITH_VALUE else 1
    return arguments[at] if at < len(arguments) else ""


def _check_guard(name: str, arguments: list[str], _setting: Setting) -> Finding | None:
    if arguments[:1] and arguments[0] in ("down", "uninstall"):
        return refused(f"{name} {arguments[0]} switches the guard off")
    return None


_CHECK_BY_NAME: Final[dict[str, Check]] = {
    **dict.fromkeys(("rm", "find", *_TREE_CHANGERS), _check_removal),
    **dict.fromkeys(_FORMATTERS, _check_format),
    **dict.fromkeys(("dd", "shred", "tee", "cp"), _check_device),
    **dict.fromkeys((*_STOPPERS, "systemctl", "init", "telinit"), _check_stop),
    "hookbus": _check_guard,
}


def check_program(name: str, arguments: list[str], setting: Setting) -> Finding | None:
    """What there is to say against ``name`` with ``arguments``."""
    check = _CHECK_BY_NAME.get(name) or _CHECK_BY_NAME.get(name.partition(".")[0])
    return check(name, arguments, setting) if check is not None else None
