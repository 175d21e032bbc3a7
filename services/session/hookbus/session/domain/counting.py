"""How long an event's id is remembered as counted.

An id is forgotten :data:`AGE_MAX` after its event's own time, or after it was counted where its clock ran ahead; and an
event older than that is not counted at all. So the same event is never counted twice, however late it comes again.
"""

from datetime import datetime, timedelta
from typing import Final

AGE_MAX: Final = timedelta(days=90)


def kept_until(event_at: datetime, now: datetime) -> datetime:
    """Until when the id of an event is remembered."""
    try:
        return max(event_at, now) + AGE_MAX
    except OverflowError:
        return event_at
