"""What is installed here and what an image's lock pins: the two sides that the bills of materials are made of."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

IMAGE_ENVIRONMENT: Final = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.0",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""The interpreter of the images, for pins that hold on some platforms only."""


@dataclass(frozen=True)
class Pin:
    """One distribution as a lock names it."""

    name: str
    version: str
    sha256: tuple[str, ...]


def pins(lock: Path) -> dict[str, Pin]:
    """Canonical name -> pin, of a lock with hashes, as far as it holds in an image.

    Raises:
        ValueError: a line names no single version.
    """
    found: dict[str, Pin] = {}
    for entry in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if not entry.strip() or entry.lstrip().startswith("#"):
            continue
        text = entry.split("--hash", 1)[0]
        requirement = Requirement(text)
        versions = [one.version for one in requirement.specifier if one.operator == "=="]
        if len(versions) != 1:
            raise ValueError(f"{lock}: not pinned: {text.strip()}")
        if requirement.marker is None or requirement.marker.evaluate(dict(IMAGE_ENVIRONMENT)):
            name = canonicalize_name(requirement.name)
            found[name] = Pin(name, versions[0], tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)))
    return found


def bill() -> dict[str, Any]:
    """The CycloneDX bill of everything in this interpreter's environment, without times and serial numbers.

    Raises:
        subprocess.CalledProcessError: the generator failed; its words are on stderr.
    """
    # Validation takes six seconds; a test does it.
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--no-validate"]
    done = subprocess.run([*command, "--of", "JSON", sys.executable], check=False, capture_output=True)  # noqa: S603 - a pinned tool
    if done.returncode != 0:
        sys.stderr.write(done.stderr.decode("utf-8", "replace"))
        done.check_returncode()
    return json.loads(done.stdout)


def canonical(component: dict[str, Any]) -> str:
    """The name of a component as locks write it."""
    return canonicalize_name(component["name"])
