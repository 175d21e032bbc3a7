"""Commands inside commands: the text that a shell is given or fed, and what ``find`` runs."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hookbus.gateway.guard.script import Command

FILLED_CHARS_MAX: Final = 16_384
"""What a word of ``find`` may grow to by the names it is filled with."""

SHELLS: Final = frozenset({"sh", "bash", "zsh", "dash", "ksh"})
"""The five whose text is read as they would read it."""
OTHER_SHELLS: Final = frozenset({"fish", "csh", "tcsh", "pwsh", "powershell", "cmd", "nu", "xonsh"})
_SWITCHERS: Final = frozenset({"su", "runuser"})
"""Programs that start the shell of another user."""
RUNNERS: Final = SHELLS | OTHER_SHELLS | _SWITCHERS | {"eval", "trap", "source", "."}

_LONG_OPTIONS_WITH_VALUE: Final = frozenset({"init-file", "rcfile", "emulate"})
_LONG_OPTIONS: Final = _LONG_OPTIONS_WITH_VALUE | {
    *("debug", "debugger", "dump-po-strings", "dump-strings", "help", "login", "noediting", "noprofile", "norc"),
    *("posix", "pretty-print", "protected", "restricted", "verbose", "version", "wordexp"),
}
"""Some shells take them after one dash too."""
_COMMAND_OPTIONS: Final = ("--command", "--session-command")
_STANDARD_INPUT: Final = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
_SUBSTITUTED: Final = "$()"
"""Stands in a word for what a substitution gives."""
_FOUND: Final = frozenset({"-exec", "-execdir", "-ok", "-okdir"})


@dataclass(frozen=True)
class Inner:
    """What a shell runs."""

    text: str | None = None
    """Given to it in its words."""
    fed: bool = False
    """It runs what its standard input gives."""
    filled: bool = False
    """It runs what a substitution gives."""


def inner_of(name: str, arguments: list[str]) -> Inner:
    """What the runner ``name`` would run with ``arguments``."""
    if name in ("eval", "trap"):
        words = arguments[1:] if arguments[:1] == ["--"] else arguments
        return _given(" ".join(words if name == "eval" else words[:1]))
    if name in ("source", "."):
        return _file(arguments[0]) if arguments else Inner()
    if name in _SWITCHERS:
        return _switched(arguments)
    return _shell(arguments)


def _given(text: str) -> Inner:
    return Inner(text, filled=_SUBSTITUTED in text)


def _file(file: str) -> Inner:
    normal = posixpath.normpath(file)
    if normal.startswith("//"):
        normal = normal[1:]
    return Inner(fed=normal in _STANDARD_INPUT, filled=file == _SUBSTITUTED)


def _shell(arguments: list[str]) -> Inner:
    """The first word that is no option is the text where ``-c`` stands among the options, otherwise a file."""
    given = from_input = False
    at = 0
    while at < len(arguments) and arguments[at][:1] in ("-", "+"):
        word = arguments[at]
        at += 1
        if word in ("-", "--"):
            break
        name = word.lstrip("-+")
        if word.startswith("--"):
            at += name in _LONG_OPTIONS_WITH_VALUE
            continue
        values = name.count("o") + name.count("O")
        if name in _LONG_OPTIONS or values > 1 or (values == 1 and name[-1] not in "oO"):
            return _unclear(arguments)
        given = given or "c" in name
        from_input = from_input or "s" in name
        at += values
    if at >= len(arguments):
        return Inner(fed=not given)
    if given:
        return _given(arguments[at])
    return Inner(fed=True) if from_input else _file(arguments[at])


def _unclear(arguments: list[str]) -> Inner:
    """Where shells take different words for the values of options: each word may be the text."""
    words = [word for word in arguments if word[:1] not in ("-", "+")]
    if any("c" in word for word in arguments if word[:1] in ("-", "+")):
        return Inner("\n".join(words), fed=True, filled=any(_SUBSTITUTED in word for word in words))
    return Inner(fed=True)


def _switched(arguments: list[str]) -> Inner:
    for at, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in _COMMAND_OPTIONS and equals:
            return _given(value)
        is_cluster = word.startswith("-") and not word.startswith("--") and word.endswith("c")
        if (is_cluster or name in _COMMAND_OPTIONS) and at + 1 < len(arguments):
            return _given(arguments[at + 1])
    return Inner(fed=True)


def find_roots(arguments: list[str]) -> list[str]:
    """Where ``find`` begins: its first words, behind the options that come before them."""
    begin = 0
    while begin < len(arguments) and (arguments[begin] in ("-H", "-L", "-P", "-D") or arguments[begin][:2] == "-O"):
        begin += 2 if arguments[begin] == "-D" else 1
    end = begin
    while end < len(arguments) and arguments[end][:1] not in ("-", "(", "!"):
        end += 1
    return arguments[begin:end] or ["."]


def found_commands(arguments: list[str]) -> Iterator[Command]:
    """What ``find`` runs: each command once for each of its roots, which stand for all that it finds beneath them."""
    roots = find_roots(arguments)
    at = 0
    while at < len(arguments):
        if arguments[at] not in _FOUND:
            at += 1
            continue
        end = at + 1
        while end < len(arguments) and not _ends_command(arguments, end):
            end += 1
        words = arguments[at + 1 : end]
        for root in roots if any("{}" in word for word in words) else roots[:1]:
            yield Command(words=[_filled(word, root) for word in words])
        at = end + 1


def _ends_command(arguments: list[str], at: int) -> bool:
    return arguments[at] == ";" or (arguments[at] == "+" and arguments[at - 1] == "{}")


def _filled(word: str, root: str) -> str:
    """``word`` with ``root`` in it, or, where that would be too long to judge, with the root of all."""
    count = word.count("{}")
    if not count:
        return word
    return word.replace("{}", root if count * len(root) <= FILLED_CHARS_MAX else "/")
