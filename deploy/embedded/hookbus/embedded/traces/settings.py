"""Settings of the trace store."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from hookbus.platform.settings import DatabaseSettings


class TracesSettings(DatabaseSettings):
    """What bounds the store: whichever of the two is met first."""

    traces_age_hours_max: Annotated[int, Field(ge=1, le=24 * 365)] = 72
    traces_spans_max: Annotated[int, Field(ge=1_000, le=100_000_000)] = 1_000_000

    @property
    def age_max(self) -> timedelta:
        """How long a trace is kept at most."""
        return timedelta(hours=self.traces_age_hours_max)
