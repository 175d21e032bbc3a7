"""Hosts that one session runs on at the same time.

A session that moves is on one host and then on another. One that was copied is on both: a host is seen again after
another one, within minutes.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

SPREAD_WINDOW_S: Final = 300.0
HOSTS_REMEMBERED_MAX: Final = 8
WEIGHTS: Final = (0.0, 0.0, 0.3, 1.2, 1.8)
"""By the number of hosts at once; more weigh as the last. Two are also a laptop and its container."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The hosts last seen, newest first, each with the time of its latest event in seconds since 1970; and those that
    were returned to."""

    hosts: tuple[tuple[str, float], ...] = ()
    returned: tuple[str, ...] = ()

    def seen(self, host: str | None, at: datetime) -> "Spread":
        """The spread after an event from ``host``."""
        if host is None:
            return self
        now_s = at.timestamp()
        if any(now_s < time_s - SPREAD_WINDOW_S for _, time_s in self.hosts):
            return self  # a replay of the past
        recent = tuple(one for one in self.hosts if now_s - one[1] <= SPREAD_WINDOW_S)
        names = {name for name, _ in recent}
        again = bool(recent) and recent[0][0] != host and host in names
        returned = {name for name in self.returned if name in names} | ({host, recent[0][0]} if again else set[str]())
        at_s = max([now_s, *(time_s for name, time_s in recent if name == host)])
        hosts = ((host, at_s), *(one for one in recent if one[0] != host))[:HOSTS_REMEMBERED_MAX]
        return Spread(hosts, tuple(sorted(returned)))

    @property
    def at_once(self) -> int:
        """On how many hosts the session runs at once; 0 for a session that only moves."""
        return len(self.returned)

    def stored(self) -> dict[str, Any]:
        """The spread as it is kept."""
        return {"hosts": [list(one) for one in self.hosts], "returned": list(self.returned)}

    @classmethod
    def read(cls, stored: dict[str, Any] | None) -> "Spread":
        """What :meth:`stored` gave; nothing seen where there is nothing."""
        if not stored:
            return cls()
        return cls(tuple((str(name), float(at_s)) for name, at_s in stored["hosts"]), tuple(stored["returned"]))


NOTHING_SEEN: Final = Spread()


def weight(at_once: int) -> float:
    """The weight of running on so many hosts at once."""
    return WEIGHTS[min(at_once, len(WEIGHTS) - 1)]
