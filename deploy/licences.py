"""Check the licence of everything installed: ``python deploy/licences.py build/licences.txt``.

Licences are read off the bill of materials, as SPDX expressions: of alternatives one has to be allowed, of licences
that apply together every one. ``deploy/supply/licences.toml`` says what is allowed and why. The list is written to the
file.
"""

import argparse
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from installed import bill, canonical
from license_expression import (  # pyright: ignore[reportMissingTypeStubs]  # it has none
    ExpressionError,
    get_spdx_licensing,
)
from members import ROOT

POLICY: Final = ROOT / "deploy" / "supply" / "licences.toml"


@dataclass(frozen=True)
class Policy:
    """What is allowed, and what stands in for metadata that say too little."""

    allowed: frozenset[str]
    classifiers: dict[str, str]
    packages: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Policy":
        """From the file; KeyError where an entry has no reason."""
        text = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, entry in text["packages"].items():
            if not entry["reason"].strip():
                raise KeyError(f"{name}: no reason")
        packages = {name: entry["licence"] for name, entry in text["packages"].items()}
        return cls(frozenset(text["allowed"]), dict(text["classifiers"]), packages)


def stated(component: dict[str, Any], policy: Policy) -> list[str]:
    """The licences a component's metadata state, as SPDX expressions; all apply together."""
    expressions: list[str] = []
    names: list[str] = []
    for one in component.get("licenses", []):
        if "expression" in one:
            expressions.append(one["expression"])
        elif "id" in one["license"]:
            expressions.append(one["license"]["id"])
        else:
            names.append(one["license"]["name"])
    return expressions or [policy.classifiers[name] for name in names if name in policy.classifiers]


@cache
def spdx() -> Any:
    """The parser that knows SPDX's licences; reading them takes a second."""
    return cast("Any", get_spdx_licensing())


def permitted(expression: str, allowed: frozenset[str]) -> bool:
    """Whether one may use what is under this expression."""
    licensing = spdx()
    try:
        tree = licensing.parse(expression, validate=True, strict=True)
    except ExpressionError:
        return False

    def holds(node: Any) -> bool:
        if isinstance(node, licensing.OR):
            return any(holds(part) for part in node.args)
        if isinstance(node, licensing.AND):
            return all(holds(part) for part in node.args)
        return str(node) in allowed

    return holds(tree)


def judge(everything: dict[str, Any], policy: Policy) -> tuple[list[str], list[str]]:
    """The list, a line for each distribution, and what stands against it."""
    lines: list[str] = []
    faults: list[str] = []
    unused = set(policy.packages)
    for component in sorted(everything["components"], key=canonical):
        name = canonical(component)
        found = stated(component, policy)
        if not found and name in policy.packages:
            unused.discard(name)
            found = [policy.packages[name]]
        if not found:
            faults.append(f"{name} {component['version']}: states no licence that is known")
        faults += [
            f"{name} {component['version']}: {one} is not allowed"
            for one in found
            if not permitted(one, policy.allowed)
        ]
        lines.append(f"{name} {component['version']}: {' and '.join(sorted(set(found))) or 'unknown'}")
    faults += [f"{name}: the exception is of no use any more" for name in sorted(unused)]
    return lines, faults


def main(arguments: list[str] | None = None) -> int:
    """Write the list; the exit code is 1 where a licence is not allowed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("list", type=Path)
    parser.add_argument("--policy", type=Path, default=POLICY)
    options = parser.parse_args(arguments)
    lines, faults = judge(bill(), Policy.read(options.policy))
    options.list.parent.mkdir(parents=True, exist_ok=True)
    options.list.write_text("\n".join(lines) + "\n", encoding="utf-8")
    for fault in faults:
        sys.stderr.write(f"licences: {fault}\n")
    sys.stdout.write(f"licences: {options.list} ({len(lines)} distributions, {len(faults)} not in order)\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
