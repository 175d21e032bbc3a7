"""The event: a CloudEvents 1.0 envelope, its short form, and what hookbus adds to it.

Source: CloudEvents 1.0.2, the core specification and its JSON format.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, JsonValue, StringConstraints, model_validator

from hookbus.contracts import limits
from hookbus.contracts.fields import (
    WITHOUT_NUL,
    AgentId,
    EventId,
    OpenModel,
    ReservationId,
    ScopeName,
    SessionId,
    Tag,
    Traceparent,
    UtcTime,
    WireModel,
)

MEDIA_TYPE_EVENT: Final = "application/cloudevents+json"
MEDIA_TYPE_BATCH: Final = "application/cloudevents-batch+json"
MEDIA_TYPE_JSON: Final = "application/json"

TYPE_PREFIX: Final = "dev.hookbus."
TYPE_SUFFIX: Final = ".v1"
SECURITY_TYPE_PREFIX: Final = "dev.hookbus.security."


class Kind(StrEnum):
    """What a hook reports. The word is also a token of the subject and of the CloudEvents type."""

    SESSION_START = "session-start"
    PROMPT = "prompt"
    PRE_TASK = "pre-task"
    POST_TASK = "post-task"
    POST_EDIT = "post-edit"
    USAGE = "usage"
    NOTIFICATION = "notification"
    SESSION_END = "session-end"
    TERMINAL_OPENED = "terminal-opened"
    TERMINAL_OUTPUT = "terminal-output"
    TERMINAL_CLOSED = "terminal-closed"


_KIND_BY_WORD: Final = {kind.value: kind for kind in Kind}
"""A look-up that Python 3.11 can make too: there ``"word" in Kind`` raises."""

EXTENSION_NAME_PATTERN: Final = r"^[a-z0-9]{1,20}$"
EventType = Annotated[str, StringConstraints(strict=True, pattern=r"^dev\.hookbus\.[a-z0-9_.-]{1,80}\.v1$")]
Source = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=256, pattern=WITHOUT_NUL)]


def type_of_kind(kind: Kind) -> str:
    """The CloudEvents type of a hook event: ``dev.hookbus.<kind>.v1``."""
    return f"{TYPE_PREFIX}{kind}{TYPE_SUFFIX}"


def type_of_security(code: str) -> str:
    """The CloudEvents type of a security event: ``dev.hookbus.security.<code>.v1``."""
    return f"{SECURITY_TYPE_PREFIX}{code}{TYPE_SUFFIX}"


class Event(OpenModel):
    """One event in CloudEvents JSON form, exactly as it travels on the bus and lies in the audit log.

    Unknown extension attributes are kept when their name and value are legal CloudEvents, and refused otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    specversion: Literal["1.0"] = "1.0"
    id: EventId
    source: Source
    type: EventType
    subject: AgentId
    time: UtcTime
    datacontenttype: Literal["application/json"] = "application/json"
    traceparent: Traceparent | None = None
    agentcategory: Tag | None = None
    project: ScopeName | None = None
    intent: Tag | None = None
    session: SessionId | None = None
    decision: Tag | None = None
    """On a pre-task that was decided: allow, deny or ask."""
    decisioncode: Tag | None = None
    reservation: ReservationId | None = None
    inputtags: Tag | None = None
    """On a pre-task that was decided: signs of injection in its input, such as ``sqli,xss``."""
    clientnetwork: Tag | None = None
    """The network a gateway took the event from, such as ``192.0.2.0/24`` or ``2001:db8:1::/48``."""
    data: dict[str, JsonValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _extensions_are_legal(self) -> Self:
        extra: dict[str, Any] = self.model_extra or {}
        if len(extra) > limits.EXTENSION_ATTRIBUTES_MAX:
            raise ValueError(f"more than {limits.EXTENSION_ATTRIBUTES_MAX} extension attributes")
        for name, value in extra.items():
            if not (name.isascii() and name.isalnum() and name == name.lower() and len(name) <= 20):
                raise ValueError("an extension attribute's name must be 1-20 lower-case letters or digits")
            if not isinstance(value, (str, bool, int)):
                raise ValueError(  # noqa: TRY004 - pydantic turns only a ValueError into a validation error
                    "an extension attribute's value must be a string, a boolean or an integer"
                )
            if isinstance(value, str) and len(value) > limits.EXTENSION_CHARS_MAX:
                raise ValueError(f"an extension attribute is over {limits.EXTENSION_CHARS_MAX} characters")
        return self

    @property
    def agent_id(self) -> str:
        """The agent the event is about: the CloudEvents subject."""
        return self.subject

    @property
    def kind(self) -> Kind | None:
        """The hook kind, or None for a security event."""
        word = self.type.removeprefix(TYPE_PREFIX).removesuffix(TYPE_SUFFIX)
        return _KIND_BY_WORD.get(word)

    @property
    def security_code(self) -> str | None:
        """The code of a security event, or None for a hook event."""
        if not self.type.startswith(SECURITY_TYPE_PREFIX):
            return None
        return self.type.removeprefix(SECURITY_TYPE_PREFIX).removesuffix(TYPE_SUFFIX)

    def to_wire(self) -> bytes:
        """The event as compact CloudEvents JSON, attributes without a value left out."""
        return self.model_dump_json(exclude_none=True).encode()


class ShortEvent(WireModel):
    """The form people write by hand; the gateway completes it into an :class:`Event`."""

    kind: Kind
    agent_id: AgentId
    data: dict[str, JsonValue] = Field(default_factory=dict)
    id: EventId | None = None
    source: Source | None = None
    time: UtcTime | None = None
    traceparent: Traceparent | None = None
    agent_category: Tag | None = None
    project: ScopeName | None = None
    intent: Tag | None = None
    session: SessionId | None = None


class Accepted(WireModel):
    """An event the bus has stored durably. ``seq`` is its place in the stream, 0 where the bus knew the id already
    and did not say."""

    id: EventId
    seq: int


class Rejected(WireModel):
    """An event of a batch that was refused; its neighbours were not."""

    index: int
    code: str
    detail: str


class EventsReply(WireModel):
    """The answer of ``POST /api/v1/events``."""

    accepted: tuple[Accepted, ...] = ()
    rejected: tuple[Rejected, ...] = ()
