"""Requests and replies of the audit service about where its checkpoints are kept beyond its own reach."""

from enum import StrEnum
from typing import Final

from hookbus.contracts.fields import UtcTime, WireModel

NAME_CHARS_MAX: Final = 200
FAULT_CHARS_MAX: Final = 300


class AnchorKind(StrEnum):
    """What keeps the checkpoints, or signs them as well."""

    FILE = "file"
    ADDRESS = "address"
    BUCKET = "bucket"
    WITNESS = "witness"


class AnchorView(WireModel):
    """One anchor or witness, as the process that appends saw it last."""

    kind: AnchorKind
    name: str
    """The file's path, the address without what may be secret in it, the bucket, the witness's name."""
    size: int
    """Entries of the newest checkpoint it has; 0 before the first."""
    lag_entries: int
    """Entries of the log's newest checkpoint that it does not cover."""
    reached_at: UtcTime | None = None
    """When it took that checkpoint."""
    fault: str | None = None
    """Why it did not take a newer one that it was offered; None where it did."""
    fault_at: UtcTime | None = None
    """Since when."""


class AnchorsRequest(WireModel):
    """``anchors``."""


class AnchorsReply(WireModel):
    """None in ``anchors``: nothing outside this machine holds a checkpoint, unless somebody fetched one."""

    size: int
    """Entries of the newest checkpoint; 0 before the first."""
    anchors: tuple[AnchorView, ...]
