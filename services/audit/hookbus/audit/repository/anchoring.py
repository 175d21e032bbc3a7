"""How far each anchor is, as the process that appends writes it down."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hookbus.audit.repository.leading import Connection
from hookbus.contracts.anchors import AnchorKind


@dataclass(frozen=True, slots=True)
class StoredAnchor:
    """One anchor's row."""

    kind: AnchorKind
    name: str
    size: int
    reached_at: datetime | None
    fault: str | None
    fault_at: datetime | None


async def keep_only(connection: Connection, kinds: Sequence[AnchorKind], names: Sequence[str]) -> None:
    """Forget the anchors that are not set any more; the others stay as they are, new ones begin at 0."""
    await connection.execute(
        "DELETE FROM audit.anchors WHERE (kind, name) NOT IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        kinds,
        names,
    )
    await connection.execute(
        "INSERT INTO audit.anchors (kind, name) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING",
        kinds,
        names,
    )


async def note_reached(connection: Connection, kind: AnchorKind, name: str, size: int) -> None:
    """It has the checkpoint of ``size``, now."""
    await connection.execute(
        "UPDATE audit.anchors SET size = $3, reached_at = now(), fault = NULL, fault_at = NULL"
        " WHERE kind = $1 AND name = $2",
        kind,
        name,
        size,
    )


async def note_fault(connection: Connection, kind: AnchorKind, name: str, fault: str) -> None:
    """It did not take a checkpoint; the moment of the first of several faults in a row stays."""
    await connection.execute(
        "UPDATE audit.anchors SET fault = $3, fault_at = coalesce(fault_at, now()) WHERE kind = $1 AND name = $2",
        kind,
        name,
        fault,
    )


async def read_anchors(connection: Connection) -> list[StoredAnchor]:
    """All of them, files first and witnesses last."""
    rows = await connection.fetch(
        "SELECT kind, name, size, reached_at, fault, fault_at FROM audit.anchors"
        " ORDER BY array_position(ARRAY['file', 'address', 'bucket', 'witness'], kind), name"
    )
    return [
        StoredAnchor(
            AnchorKind(row["kind"]), row["name"], row["size"], row["reached_at"], row["fault"], row["fault_at"]
        )
        for row in rows
    ]
