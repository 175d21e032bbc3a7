"""What the doctor found: one line for each check, and for a red one what to do."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One check. ``remedy`` is set where it failed."""

    check: str
    detail: str
    remedy: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the check passed."""
        return self.remedy is None

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"ok": self.ok, **asdict(self)}


def good(check: str, detail: str) -> Finding:
    """A check that passed."""
    return Finding(check, detail)


def bad(check: str, detail: str, remedy: str) -> Finding:
    """A check that failed, and what to do."""
    return Finding(check, detail, remedy)
