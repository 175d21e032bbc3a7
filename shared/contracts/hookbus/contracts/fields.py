r"""Constrained types shared by the models: identifiers, amounts, times, and the base of every model.

Patterns are matched by Rust's regex engine, whose ``$`` is the end of the text: ``"agent\n"`` does not match.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from hookbus.contracts import limits


def _as_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:  # within a day of the years 1 and 9999
        raise ValueError("the time is out of range in UTC") from None


AgentId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
"""Names an agent; also the last token of its subject, so it holds no dot, space or wildcard."""

ScopeName = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9._-]{1,64}$")]
"""Names a project, a team or the global scope."""

EventId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9._:-]{1,128}$")]
SessionId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9._:-]{1,128}$")]
OperationId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9._:-]{1,128}$")]
"""Ties a post-task to its pre-task (an agent's tool use id or task id)."""

ReservationId = Annotated[str, StringConstraints(strict=True, pattern=r"^[a-zA-Z0-9._:-]{1,128}$")]
Traceparent = Annotated[str, StringConstraints(strict=True, pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
WITHOUT_NUL = r"^[^\x00]*$"
"""A NUL is no character to PostgreSQL: text that may hold one cannot be stored."""

Tag = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=limits.IDENTIFIER_CHARS_MAX, pattern=WITHOUT_NUL),
]
Words = Annotated[str, StringConstraints(strict=True, max_length=limits.DESCRIPTION_CHARS_MAX, pattern=WITHOUT_NUL)]
"""Free text of a person: a reason, a filter."""

Cursor = Annotated[str, StringConstraints(strict=True, max_length=limits.CURSOR_CHARS_MAX, pattern=r"^[\x21-\x7e]*$")]
"""Where a page ended; only the service that made it can read it."""

UtcTime = Annotated[AwareDatetime, AfterValidator(_as_utc)]

Tokens = Annotated[int, Field(strict=True, ge=0, le=limits.TOKENS_PER_REQUEST_MAX)]
"""Tokens of one request or operation."""

Usd = Annotated[
    Decimal,
    Field(
        ge=0,
        le=limits.COST_PER_REQUEST_USD_MAX,
        decimal_places=limits.USD_DECIMAL_PLACES,
        allow_inf_nan=False,
    ),
]
"""Cost of one request or operation, USD; a decimal string on the wire."""

Risk = Annotated[float, Field(ge=0.0, le=1.0)]


class WireModel(BaseModel):
    """Base of the models hookbus itself defines: immutable, and an unknown field is an error, not a silent loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OpenModel(BaseModel):
    """Base of the models others fill (hook payloads): immutable, unknown fields are kept and passed through."""

    model_config = ConfigDict(frozen=True, extra="allow")
