"""Ask for known vulnerabilities of what the lock pins: ``python deploy/vulnerabilities.py``.

pip-audit asks the OSV service about every pin of ``requirements.lock``; each image's lock is a part of it. A
vulnerability fails the check unless ``deploy/supply/vulnerabilities.toml`` lets it pass. Where the service cannot be
reached nothing was found out: that is said, and fails only with ``--required``.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from members import ROOT

LOCK: Final = ROOT / "requirements.lock"
IGNORED: Final = ROOT / "deploy" / "supply" / "vulnerabilities.toml"
OSV_URL_VARIABLE: Final = "HOOKBUS_OSV_URL"
"""Another address of an OSV service, such as a mirror's."""
CONNECT_TIMEOUT_S: Final = 5
UNREACHABLE: Final = re.compile(
    r"requests\.exceptions\.(?:\w*Timeout|ConnectionError|ProxyError|SSLError)|ConnectionError|ServiceError|HTTPError"
)
"""How pip-audit ends when the service does not answer, or not as a service of its kind does."""


class UnreachableError(Exception):
    """The service said nothing about the pins."""


@dataclass(frozen=True)
class Known:
    """One vulnerability of one pin."""

    distribution: str
    names: frozenset[str]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True)
class Ignored:
    """One that may pass until a day."""

    name: str
    reason: str
    until: date


def ask(lock: Path, osv_url: str | None) -> tuple[int, list[Known]]:
    """How many pins were asked about, and what is known of them.

    Raises:
        UnreachableError: the service did not answer.
        RuntimeError: pip-audit failed for another reason, such as a lock it cannot read.
    """
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip", "--require-hashes"]
    command += ["--vulnerability-service", "osv", "--timeout", str(CONNECT_TIMEOUT_S)]
    command += ["--format", "json", "--progress-spinner", "off"]
    if osv_url is not None:
        command += ["--osv-url", osv_url]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - a pinned tool
    if not done.stdout.lstrip().startswith("{"):
        last = (done.stderr.strip().splitlines() or ["no words"])[-1]
        if UNREACHABLE.search(done.stderr):
            raise UnreachableError(last)
        raise RuntimeError(last)
    answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    asked = [one for one in answers if "skip_reason" not in one]
    known = [
        Known(
            f"{one['name']} {one['version']}",
            frozenset((found["id"], *found["aliases"])),
            tuple(found["fix_versions"]),
        )
        for one in asked
        for found in one["vulns"]
    ]
    return len(asked), known


def read_ignored(path: Path) -> list[Ignored]:
    """What may pass; KeyError where an entry lacks its reason or its day."""
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text(encoding="utf-8"))["ignored"]
    return [Ignored(one["id"], one["reason"], one["until"]) for one in entries]


def judge(known: list[Known], ignored: list[Ignored], today: date) -> list[str]:
    """What stands against the lock, a line each."""
    faults = [f"{one.name}: may pass until {one.until} only" for one in ignored if one.until < today]
    passing = {one.name for one in ignored}
    faults += [f"{name}: nothing pinned has it any more" for name in passing if not any(name in k.names for k in known)]
    for one in known:
        if not one.names & passing:
            fix = f"fixed in {', '.join(one.fixed_in)}" if one.fixed_in else "no version fixes it"
            faults.append(f"{one.distribution}: {', '.join(sorted(one.names))}; {fix}")
    return sorted(faults)


def main(arguments: list[str] | None = None) -> int:
    """Ask and judge; the exit code is 1 for a vulnerability, and for no answer with ``--required``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--ignored", type=Path, default=IGNORED)
    parser.add_argument("--required", action="store_true", help="no answer is a failure: for a release")
    options = parser.parse_args(arguments)
    ignored = read_ignored(options.ignored)
    try:
        asked, known = ask(options.lock, os.environ.get(OSV_URL_VARIABLE))
    except RuntimeError as error:
        sys.stderr.write(f"vulnerabilities: pip-audit failed: {error}\n")
        return 1
    except UnreachableError as error:
        sys.stdout.write(
            f"vulnerabilities: SKIPPED, NOTHING WAS AUDITED: the service could not be reached\n  {error}\n"
        )
        return 1 if options.required else 0
    faults = judge(known, ignored, datetime.now(UTC).date())
    for fault in faults:
        sys.stderr.write(f"vulnerabilities: {fault}\n")
    sys.stdout.write(f"vulnerabilities: {asked} pins asked about, {len(known)} known, {len(ignored)} let pass\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
