"""The workspace folders that one distribution is made of: ``python deploy/members.py hookbus-gateway``.

Read off the members' own ``pyproject.toml`` files, so that an image holds what its service names and nothing else.
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def read(path: Path) -> dict[str, Any]:
    """A TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def folders_of(wanted: str) -> list[str]:
    """The folder of ``wanted`` and of each member below it, the deepest first; KeyError for a name no member has."""
    members = read(ROOT / "pyproject.toml")["tool"]["uv"]["workspace"]["members"]
    projects = {read(ROOT / folder / "pyproject.toml")["project"]["name"]: folder for folder in members}
    found: list[str] = []

    def visit(name: str) -> None:
        folder = projects[name]
        if folder in found:
            return
        for requirement in read(ROOT / folder / "pyproject.toml")["project"]["dependencies"]:
            needed = re.split(r"[^a-zA-Z0-9_.-]", requirement, maxsplit=1)[0]
            if needed in projects:
                visit(needed)
        found.append(folder)

    visit(wanted)
    return found


if __name__ == "__main__":
    sys.stdout.write("\n".join(f"./{folder}" for folder in folders_of(sys.argv[1])) + "\n")
