"""How much a fault test does: a part of it in every test run, all of it under ``make faults``."""

import os

FULL = os.environ.get("HOOKBUS_FAULTS") == "full"


def sized(everyday: int, full: int) -> int:
    """A count of kills, clients or events."""
    return full if FULL else everyday
