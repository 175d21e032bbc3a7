"""How much work one operation may cause, counted and never timed: the same input gets the same answer on every machine.

A unit is about a microsecond of Python: one token of shell text, one value of a structure. What C does in one pass over
the text (finding a quote's end, matching tags) is bounded by the size of an event and costs no unit.
"""

from enum import StrEnum
from typing import Final

EFFORT_STRICT_MAX: Final = 450
"""Some 300 words of shell text. An operation of a coding session takes 5 to 60."""
EFFORT_LENIENT_MAX: Final = 20_000


class GuardMode(StrEnum):
    """What becomes of doubt: strict refuses, lenient asks a person, or tags and lets pass."""

    STRICT = "strict"
    LENIENT = "lenient"


class EffortSpentError(Exception):
    """The operation takes more work to judge than it may."""


class Effort:
    """What is left for one operation."""

    def __init__(self, units_max: int) -> None:
        self.left = units_max

    @classmethod
    def of(cls, mode: GuardMode) -> "Effort":
        """All that ``mode`` allows."""
        return cls(EFFORT_STRICT_MAX if mode is GuardMode.STRICT else EFFORT_LENIENT_MAX)

    def spend(self, units: int) -> None:
        """Take ``units``.

        Raises:
            EffortSpentError: they are not there.
        """
        self.left -= units
        if self.left < 0:
            raise EffortSpentError
