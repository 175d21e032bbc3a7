"""Write the bill of materials of each image: ``python deploy/sbom.py build/sbom``.

CycloneDX 1.6, one file for each lock in ``deploy/locks``: the distributions with licences and what each needs, from
cyclonedx-py; the hashes from the lock. The same locks give the same bytes. Debian's packages of the base image are not
in it: they are the base image's own.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from installed import Pin, bill, canonical, pins
from members import ROOT, folders_of, read

LOCKS: Final = ROOT / "deploy" / "locks"
BUILD_LOCK: Final = "build"
"""Pins the tools that make the wheels; no image holds them."""


class DriftError(Exception):
    """The environment is not what the locks say."""


def images(locks: Path) -> list[str]:
    """The names of the images."""
    return sorted(lock.stem for lock in locks.glob("*.lock") if lock.stem != BUILD_LOCK)


def image_bill(image: str, lock: dict[str, Pin], everything: dict[str, Any]) -> dict[str, Any]:
    """What one image holds, cut out of the bill of the whole environment.

    Raises:
        DriftError: a pinned version is not the one installed.
    """
    own = {read(ROOT / folder / "pyproject.toml")["project"]["name"] for folder in folders_of(f"hookbus-{image}")}
    by_name = {canonical(component): component for component in everything["components"]}
    for pin in lock.values():
        installed = by_name.get(pin.name, {}).get("version")
        if installed != pin.version:
            raise DriftError(f"{image}: {pin.name} is pinned at {pin.version} and installed at {installed}")
    kept = {name: by_name[name] for name in sorted({*own, *lock})}
    root = kept.pop(f"hookbus-{image}")
    references = {component["bom-ref"] for component in (root, *kept.values())}
    return {
        "$schema": everything["$schema"],
        "bomFormat": everything["bomFormat"],
        "specVersion": everything["specVersion"],
        "version": 1,
        "metadata": {**everything["metadata"], "component": {**_described(root, None), "type": "application"}},
        "components": [_described(component, lock.get(name)) for name, component in kept.items()],
        "dependencies": [
            {
                "ref": one["ref"],
                "dependsOn": sorted(name for name in one.get("dependsOn", []) if name in references),
            }
            for one in sorted(everything["dependencies"], key=lambda one: str(one["ref"]))
            if one["ref"] in references
        ],
    }


def _described(component: dict[str, Any], pin: Pin | None) -> dict[str, Any]:
    """A component without the folder it was installed from, and with the hashes its pin allows."""
    links = [one for one in component.get("externalReferences", []) if not one["url"].startswith("file:")]
    if pin is not None:
        hashes = [{"alg": "SHA-256", "content": content} for content in sorted(pin.sha256)]
        links.append({"type": "distribution", "url": component["purl"], "comment": "from the lock", "hashes": hashes})
    return {**component, "externalReferences": links}


def write(folder: Path, locks: Path, everything: dict[str, Any]) -> list[Path]:
    """Write every image's bill; the files.

    Raises:
        DriftError: as ``image_bill``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for image in images(locks):
        made = image_bill(image, pins(locks / f"{image}.lock"), everything)
        text = json.dumps(made, indent=1, sort_keys=True) + "\n"
        path = folder / f"{image}.cdx.json"
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def main(arguments: list[str] | None = None) -> int:
    """Write the bills; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--locks", type=Path, default=LOCKS)
    options = parser.parse_args(arguments)
    try:
        for path in write(options.folder, options.locks, bill()):
            count = len(json.loads(path.read_text(encoding="utf-8"))["components"])
            sys.stdout.write(f"sbom: {path} ({count} components)\n")
    except DriftError as error:
        sys.stderr.write(f"sbom: {error}\nsbom: `make setup` installs what the locks say\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
