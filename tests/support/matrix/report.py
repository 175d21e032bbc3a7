"""The rows of a run as a Markdown table: what ``make faults`` prints and ``docs/reliability.md`` holds."""

from collections.abc import Iterable, Iterator
from typing import Any

COLUMNS = {
    "fault": "fault",
    "duration_s": "row, s",
    "events": "events",
    "decisions": "decisions",
    "settlements": "settled",
    "retries": "told later",
    "revocations": "revoked",
    "checkpoints": "checkpoints",
    "longest_outage_s": "longest outage, s",
    "whole_after_s": "whole after, s",
    "machine_load": "load a core",
    "notes": "seen",
}


def table(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of the table, in the order given."""
    yield "| " + " | ".join(COLUMNS.values()) + " |"
    yield "|" + "---|" * len(COLUMNS)
    for row in rows:
        notes = "; ".join(f"{name}: {text}" for name, text in row["notes"].items())
        yield "| " + " | ".join(str(row[name]) for name in COLUMNS if name != "notes") + f" | {notes} |"
