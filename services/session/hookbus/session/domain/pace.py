"""How fast something goes against its own past: counts in windows of a minute, and the mean of those that are over.

Only windows in which something happened are counted: a pause is not slow work. What comes late, for a window that is
over, is left out, so a spool that replays the past looks like no burst.
"""

import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final, Self

WINDOW_S: Final = 60
WINDOWS_KNOWN_MIN: Final = 5
"""Before so many windows are over there is no past to compare with."""
MEAN_SHARE: Final = 0.2
"""What the newest window that is over weighs in the mean."""
BURST_FACTOR: Final = 8.0
"""So many times its own mean is a burst."""
WEIGHT_DOUBLING: Final = 0.6
WEIGHT_MAX: Final = 1.2
WEIGHT_STEPS: Final = 10
"""Of one. Between two steps a burst that grows is the same evidence: each change of evidence is stored, announced and
logged, and a burst grows with each of its events."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Counts of one thing. ``window`` is the running window's number since 1970, ``windows`` how many are over."""

    window: int = 0
    count: float = 0.0
    mean: float = 0.0
    windows: int = 0

    def counted(self, at: datetime, amount: float) -> "Pace":
        """The pace after ``amount`` more at ``at``."""
        window = int(at.timestamp() // WINDOW_S)
        if window < self.window or amount <= 0:
            return self
        if window == self.window:
            return replace(self, count=self.count + amount)
        if self.window == 0:
            return Pace(window, amount)
        mean = self.count if self.windows == 0 else self.mean + MEAN_SHARE * (self.count - self.mean)
        return Pace(window, amount, mean, self.windows + 1)

    def over(self, floor: float) -> float:
        """How many times the running window is beyond what is a burst; 0 where it is none.

        Below ``floor`` in a window nothing is a burst: small numbers multiply easily.
        """
        if self.windows < WINDOWS_KNOWN_MIN:
            return 0.0
        burst = max(floor, BURST_FACTOR * self.mean)
        return self.count / burst if self.count > burst else 0.0

    def stored(self) -> dict[str, float]:
        """The pace as it is kept."""
        return asdict(self)

    @classmethod
    def read(cls, stored: dict[str, Any] | None) -> Self:
        """What :meth:`stored` gave; the beginning where there is nothing."""
        return cls(**stored) if stored else cls()


NOTHING_COUNTED: Final = Pace()


def weight(over: float) -> float:
    """Grows by steps with the logarithm of how far beyond a burst it is: just beyond 0.6, three times and more 1.2."""
    grown = WEIGHT_DOUBLING * math.log2(1.0 + over)
    return min(WEIGHT_MAX, math.floor(grown * WEIGHT_STEPS) / WEIGHT_STEPS)
