"""Whether the words of a command name credentials, in any of the places where a program takes a file."""

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from hookbus.contracts import limits
from hookbus.gateway.guard.checks import WORD_UNITS, Setting, refused
from hookbus.gateway.guard.findings import Finding, shown
from hookbus.gateway.guard.paths import is_credential

VALUES_MAX: Final = 3
"""Of ``--form=f=@file`` and its kin: how many signs of equality are looked behind."""

_HOME: Final = re.compile(r"(?:\$HOME|\$\{HOME\}|~[A-Za-z0-9_.+-]*+)/").match
_PREFIX: Final = re.compile(r"(?:-[A-Za-z](?=[@<]?[/~$.]))?[@<]?").match
"""What may stand in front of a file: ``-T/file``, ``-d@file``, ``@file``, ``<file``."""
_NAMING: Final = frozenset({"export", "declare", "typeset", "local", "readonly", "alias"})
"""They give a name to a value and open nothing."""
_HOLDS_SECRETS: Final = re.compile(r"(?:~[A-Za-z0-9_.+-]*+|/root|/home/[^/]++|/Users/[^/]++|/etc|/proc)").fullmatch
"""Folders in which a name alone may be one of credentials."""


def check_credentials(name: str, words: list[str], setting: Setting) -> Finding | None:
    """What there is to say against ``words`` of the program ``name``, where one names credentials."""
    scene = setting.scene
    by_name = bool(setting.folder) and _HOLDS_SECRETS(setting.folder) is not None
    for word in words:
        if not (by_name or "/" in word) or len(word) > limits.FILE_NAME_CHARS_MAX:
            continue
        for path in _paths(name, word):
            if setting.goes_down(path) or not (by_name or "/" in path):
                continue
            scene.effort.spend(WORD_UNITS)
            if _is_credential(setting.located(path), scene.workspace.cwd):
                return refused(f"touches credentials: {shown(word)}")
    return None


def _paths(name: str, word: str) -> Iterator[str]:
    """What in ``word`` may be a path: all of it but its prefix, and the same behind its signs of equality."""
    yield _without_prefix(word)
    if name in _NAMING:
        return
    rest = word
    for _ in range(VALUES_MAX):
        before, equals, rest = rest.partition("=")
        if not equals or "/" in before:
            return
        yield _without_prefix(rest.partition(";")[0]).strip('"')


def _without_prefix(word: str) -> str:
    prefix = _PREFIX(word)
    return word[prefix.end() :] if prefix is not None else word


def _is_credential(path: str, cwd: str | None) -> bool:
    home = _HOME(path)
    if home is not None:
        path = f"/root/{path[home.end() :]}"  # any home: only the part below it is judged
    elif not path.startswith("/") and cwd is not None:
        path = f"{cwd}/{path}"
    return path.startswith("/") and is_credential(posixpath.normpath(path))
