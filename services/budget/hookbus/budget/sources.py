"""Who reports what a model request took, and whose word stands when they differ."""

from typing import Final

RANK_BY_SOURCE: Final = {"otlp": 4, "sdk": 3, "hook": 2, "transcript": 1}
"""The agent's own telemetry counts what was billed; a transcript can lag and hold placeholders."""
RANK_UNKNOWN: Final = 0


def rank_of(source: str | None) -> int:
    """The higher, the better; an unnamed or unknown source is the lowest."""
    return RANK_BY_SOURCE.get(source or "", RANK_UNKNOWN)
