"""Conformance vectors, which lie outside the repository: tests read them where they are and skip where they are not."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "HOOKBUS_VECTORS_DIR"
BESIDE_CHECKOUT = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def vectors_folder(name: str) -> Path:
    """A folder or file of vectors; the test is skipped where it is absent."""
    root = Path(os.environ.get(VARIABLE, BESIDE_CHECKOUT))
    found = root / name
    if not found.exists():
        pytest.skip(
            f"conformance vectors {name} are absent (set {VARIABLE}, or put shared/vectors beside the checkout)"
        )
    return found


def load(path: Path) -> Any:
    """A vector file."""
    return json.loads(path.read_text(encoding="utf-8"))
