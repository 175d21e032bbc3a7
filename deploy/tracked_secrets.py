"""Find credentials in the files git tracks, as they lie here: ``python deploy/tracked_secrets.py``.

The detectors are those of ``credential_history.py``, which looks into the history as well. What is no credential stands
in ``deploy/supply/placeholders.toml``: the file, the text, and why it is harmless. Nothing prints a credential whole.
"""

import argparse
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from credential_history import Found, detectors, find
from members import ROOT

PLACEHOLDERS: Final = "deploy/supply/placeholders.toml"
FILLED_IN: Final = re.compile(rb"\{[A-Za-z_][A-Za-z0-9_.]*\}")
"""A name in braces: a program puts the value there."""


@dataclass(frozen=True)
class Placeholder:
    """One text in one file that is no credential."""

    path: str
    text: str
    reason: str


def tracked(root: Path) -> list[str]:
    """The files that the next commit holds, new ones that nobody ignores included."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - git, with fixed arguments
    return sorted({name.decode() for name in done.stdout.split(b"\0") if name})


def scan(root: Path) -> list[Found]:
    """Every credential in them."""
    plugins = detectors()
    found: list[Found] = []
    for name in tracked(root):
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        for kind, secret, line in find(path.read_bytes(), plugins):
            if not FILLED_IN.fullmatch(secret):
                found.append(Found(kind, secret, "", name, line))
    return found


def read_placeholders(root: Path) -> list[Placeholder]:
    """The harmless ones; KeyError where an entry lacks a part. None where there is no such file."""
    path = root / PLACEHOLDERS
    if not path.exists():
        return []
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8")).get("placeholder", [])
    return [Placeholder(one["path"], one["text"], one["reason"]) for one in entries]


def judge(found: list[Found], placeholders: list[Placeholder]) -> list[str]:
    """What stands against the files, a line each."""
    listed = {(one.path, one.text.encode()) for one in placeholders}
    # The list itself holds every text of the list.
    harmless = listed | {(PLACEHOLDERS, text) for _, text in listed}
    met = {(one.path, one.secret) for one in found}
    faults = [
        f"{one.path}:{one.line}: {one.kind}: {one.masked()}" for one in found if (one.path, one.secret) not in harmless
    ]
    faults += [f"{PLACEHOLDERS}: {path} holds no such text any more" for path, _ in listed - met]
    return sorted(set(faults))


def main(arguments: list[str] | None = None) -> int:
    """Scan; the exit code is 1 for a credential."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("root", type=Path, nargs="?", default=ROOT)
    root = parser.parse_args(arguments).root
    found = scan(root)
    faults = judge(found, read_placeholders(root))
    for fault in faults:
        sys.stderr.write(f"secrets: {fault}\n")
    sys.stdout.write(f"secrets: {len(tracked(root))} files, {len(found)} finds, {len(faults)} not in order\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
