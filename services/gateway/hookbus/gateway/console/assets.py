"""The console's files: read once, named by a hash of them all, and kept by browsers for good.

One hash for the whole folder, in the path: modules import each other by relative names, so a page never mixes two
versions, and no list of names has to be rewritten.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, Self

MEDIA_TYPE_BY_SUFFIX: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
VERSION_CHARS: Final = 16
_FOLDER: Final = "static"


@dataclass(frozen=True)
class Asset:
    """One file as it is served."""

    body: bytes
    media_type: str


@dataclass(frozen=True)
class Assets:
    """All files by their path below the folder. ``version`` changes when any of them does."""

    by_path: Mapping[str, Asset]
    version: str

    @classmethod
    def load(cls) -> Self:
        """Read the package's folder."""
        by_path = dict(_walk(files("hookbus.gateway.console").joinpath(_FOLDER)))
        digest = hashlib.sha256()
        for path, asset in sorted(by_path.items()):
            digest.update(f"{path}\0{len(asset.body)}\0".encode() + asset.body)
        return cls(by_path, digest.hexdigest()[:VERSION_CHARS])


def _walk(folder: Traversable, prefix: str = "") -> list[tuple[str, Asset]]:
    found: list[tuple[str, Asset]] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _walk(entry, f"{prefix}{entry.name}/")
            continue
        media_type = MEDIA_TYPE_BY_SUFFIX.get(f".{entry.name.rpartition('.')[2]}")
        if media_type is not None:
            found.append((f"{prefix}{entry.name}", Asset(entry.read_bytes(), media_type)))
    return found
