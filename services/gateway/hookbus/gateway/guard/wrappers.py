"""What stands before a command: assignments, and programs that only run another one."""

import re
import shlex
from dataclasses import dataclass
from typing import Final, NamedTuple

from hookbus.gateway.guard.reading import ASSIGNMENT


@dataclass(frozen=True)
class Wrapper:
    """A program that runs the rest of its words."""

    short: str = ""
    """The letters of its options that take a value."""
    long: tuple[str, ...] = ()
    """The long names of its options that take a value in the next word, where none stands behind ``=``."""
    folder: tuple[str, ...] = ()
    """Those of its options that name the folder to run in."""
    operands: int = 0
    """How many words of its own stand behind its options."""
    assigns: bool = False
    """Behind its options, each word with a sign of equality is an assignment."""


WRAPPERS: Final = {
    "sudo": Wrapper(
        "ughpCTrtURD",
        (
            "--user",
            "--group",
            "--host",
            "--prompt",
            "--close-from",
            "--command-timeout",
            "--role",
            "--type",
            "--other-user",
            "--chroot",
            "--chdir",
        ),
        folder=("-D", "--chdir"),
        assigns=True,
    ),
    "doas": Wrapper("uCa"),
    "env": Wrapper(
        "uCSaP",
        ("--unset", "--chdir", "--split-string", "--argv0"),
        folder=("-C", "--chdir"),
        assigns=True,
    ),
    "nohup": Wrapper(),
    "time": Wrapper("fo", ("--format", "--output")),
    "timeout": Wrapper("sk", ("--signal", "--kill-after"), operands=1),
    "nice": Wrapper("n", ("--adjustment",)),
    "ionice": Wrapper("cn", ("--class", "--classdata")),
    "stdbuf": Wrapper("ioe", ("--input", "--output", "--error")),
    "xargs": Wrapper(
        "nPIdLsaEJR",
        ("--arg-file", "--delimiter", "--max-args", "--max-procs", "--max-chars", "--process-slot-var"),
    ),
    "command": Wrapper(),
    "builtin": Wrapper(),
    "exec": Wrapper("a"),
    "coproc": Wrapper(),
    "setsid": Wrapper(),
    "busybox": Wrapper(),
}
_UNKNOWN: Final = re.compile(r"(?:\$(?:[A-Za-z0-9_@*]++|\{[A-Za-z0-9_]++\}|\(\)))++").fullmatch
"""What may be nothing, or a wrapper: ``$SUDO``."""
_VANISHING: Final = re.compile(r"\$(?:[@*!0-9]|\{[^}]*+\}|\(\))")
"""What may be nothing inside a command's name: ``r$@m``."""
_SPLIT_BLANK: Final = re.compile(r"\\[_tnfrv]")
"""What ``env -S`` takes for a blank besides blanks."""


class Unwrapped(NamedTuple):
    """The command itself."""

    words: list[str]
    text: str | None = None
    """Instead of words, what ``env -S`` splits into words."""
    folder: str | None = None
    """Where a wrapper says that it runs."""


def program(word: str) -> str:
    """The name of the program that ``word`` runs."""
    return word.rpartition("/")[2]


def unwrapped(words: list[str]) -> Unwrapped:
    """``words`` without assignments before the command and without the programs that only run it."""
    at, folder = 0, None
    while at < len(words):
        if ("=" in words[at] and ASSIGNMENT.match(words[at])) or _UNKNOWN(words[at]):
            at += 1
            continue
        word = _VANISHING.sub("", words[at]) if "$" in words[at] else words[at]
        name = program(word)
        wrapper = WRAPPERS.get(name)
        if wrapper is None:
            return Unwrapped([word, *words[at + 1 :]] if at or word is not words[at] else words, folder=folder)
        at += 1
        while at < len(words) and words[at].startswith("-"):
            option, value, length = _option(wrapper, words, at)
            at += length
            if name == "env" and value is not None and _names(option, ("-S", "--split-string")):
                text = " ".join(["env", _SPLIT_BLANK.sub(" ", value), *map(shlex.quote, words[at:])])
                return Unwrapped([], text, folder)
            if value is not None and _names(option, wrapper.folder):
                folder = value
            if option == "--":
                break
        at += wrapper.operands
        while wrapper.assigns and at < len(words) and "=" in words[at]:
            at += 1
    return Unwrapped([], folder=folder)


def _option(wrapper: Wrapper, words: list[str], at: int) -> tuple[str, str | None, int]:
    """The option at ``at``, its value, and how many words both are. Long names may be cut short, as programs allow."""
    word, following = words[at], words[at + 1] if at + 1 < len(words) else None
    if word.startswith("--"):
        name, equals, value = word.partition("=")
        if equals:
            return name, value, 1
        if len(name) > len("--") and _names(name, wrapper.long):
            return name, following, 2
        return name, None, 1
    for place, letter in enumerate(word[1:], start=1):
        if letter in wrapper.short:
            attached = word[place + 1 :]
            return (f"-{letter}", attached, 1) if attached else (f"-{letter}", following, 2)
    return word, None, 1


def _names(option: str, names: tuple[str, ...]) -> bool:
    """Whether ``option`` is one of ``names``, a long one perhaps cut short."""
    return any(option == name or (option.startswith("--") and name.startswith(option)) for name in names)
