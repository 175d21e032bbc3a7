"""The five shells a command may be run by, and the environment it is given."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SHELLS: Final[dict[str, tuple[str, ...]]] = {
    "bash": ("--noprofile", "--norc"),
    "sh": (),
    "zsh": ("-f",),
    "dash": (),
    "ksh": (),
}
"""With the options that keep each from reading files of its own before it starts."""
SHELL_FOLDERS: Final = ("/bin", "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
"""Where a shell may lie: not in whatever folder stands first in PATH."""
SCRIPT: Final = 'exec "$@"'
"""All that the shell ever reads as shell text: the command comes to it as words, and stays words."""

ENVIRONMENT: Final = frozenset(
    {
        *("CI", "COLUMNS", "COLORTERM", "HOME", "LANG", "LANGUAGE", "LINES", "LOGNAME", "NO_COLOR", "PATH", "PWD"),
        *("SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV"),
    }
)
"""What every command gets, beside ``LC_*``. Anything else, keys and tokens above all, must be named."""
NEVER: Final = frozenset(
    {"BASHOPTS", "CDPATH", "ENV", "FPATH", "IFS", "PROMPT_COMMAND", "PS4", "SHELLOPTS", "ZDOTDIR", "HOOKBUS_API_KEY"}
)
NEVER_PREFIXES: Final = ("BASH_", "DYLD_", "LD_")
"""What makes a shell or the loader run something else first, and the key of the guard itself."""


def find_shell(name: str) -> str | None:
    """The path of an allowed shell, or None where it is not on the list or not installed."""
    if name not in SHELLS:
        return None
    candidates = (f"{folder}/{name}" for folder in SHELL_FOLDERS)
    return next((path for path in candidates if Path(path).is_file() and os.access(path, os.X_OK)), None)


def argv_of(shell_path: str, name: str, argv: list[str]) -> list[str]:
    """What is executed: the shell, told to become ``argv``."""
    return [shell_path, *SHELLS[name], "-c", SCRIPT, name, *argv]


def may_pass(name: str) -> bool:
    """Whether a variable may be given to the command where a person names it."""
    return name not in NEVER and not name.startswith(NEVER_PREFIXES) and "=" not in name and bool(name)


def filtered(environ: Mapping[str, str], named: list[str]) -> dict[str, str]:
    """The variables of ``environ`` a command gets. Folders of PATH that are not absolute are left out."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in ENVIRONMENT or name.startswith("LC_") or (name in named and may_pass(name))
    }
    kept.pop("PWD", None)  # the shell sets it for the folder it is started in
    if "PATH" in kept:
        kept["PATH"] = os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part.startswith("/"))
    return kept
