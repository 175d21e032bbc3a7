"""The ``data`` of each event kind. Only the fields hookbus acts on are named; everything else passes through."""

from decimal import Decimal
from typing import Annotated, Final

from pydantic import Field, StringConstraints

from hookbus.contracts import limits
from hookbus.contracts.events import Kind
from hookbus.contracts.fields import WITHOUT_NUL, OpenModel, OperationId, Tokens, Usd

Text = Annotated[str, StringConstraints(max_length=limits.DESCRIPTION_CHARS_MAX, pattern=WITHOUT_NUL)]
Name = Annotated[str, StringConstraints(max_length=limits.EVENT_ID_CHARS_MAX, pattern=WITHOUT_NUL)]
Reported = Annotated[str, StringConstraints(max_length=limits.EVENT_ID_CHARS_MAX)]
"""What a machine says of itself: whoever stores it cleans it, for an odd host name is no reason to lose an event."""
PathText = Annotated[str, StringConstraints(max_length=limits.FILE_NAME_CHARS_MAX, pattern=WITHOUT_NUL)]


class Fingerprint(OpenModel):
    """Where a hook ran; the baseline of an agent's session."""

    host: Reported | None = None
    user: Reported | None = None
    agent_version: Reported | None = None
    network: Reported | None = None
    """The network it came from, where a baseline is shown: the gateway's word, never a hook's own."""


class SessionStart(OpenModel):
    """``session-start``: an agent opened a session."""

    fingerprint: Fingerprint | None = None
    cwd: PathText | None = None


class PreTask(OpenModel):
    """``pre-task``: an agent is about to run a tool."""

    operation_id: OperationId | None = None
    tool: Name | None = None
    tool_input: dict[str, object] | None = None
    description: Text | None = None
    cwd: PathText | None = None
    estimated_tokens: Tokens | None = None
    estimated_cost: Usd | None = None
    fingerprint: Fingerprint | None = None


class PostTask(OpenModel):
    """``post-task``: a tool ran. Usage is present only where the agent reports it."""

    operation_id: OperationId | None = None
    tool: Name | None = None
    status: Name | None = None
    tokens_used: Tokens | None = None
    cost: Usd | None = None


class Usage(OpenModel):
    """``usage``: what a model call took. Cost is computed by the budget service where it is absent."""

    request_id: OperationId | None = None
    operation_id: OperationId | None = None
    model: Name | None = None
    provider: Name | None = None
    input_tokens: Tokens = 0
    output_tokens: Tokens = 0
    cache_read_tokens: Tokens = 0
    cache_write_5m_tokens: Tokens = 0
    cache_write_1h_tokens: Tokens = 0
    tokens_used: Tokens | None = None
    """The total, where the kinds are not known."""
    cost: Usd | None = None
    provenance: Name | None = None
    """Who measured: ``otlp``, ``transcript``, ``sdk`` or ``hook``."""


class TerminalOpened(OpenModel):
    """``terminal-opened``: an agent opened a terminal."""

    terminal_id: OperationId
    shell: Name | None = None
    cwd: PathText | None = None


class TerminalOutput(OpenModel):
    """``terminal-output``: a piece of what a terminal printed. ``sequence`` orders the pieces of one terminal."""

    terminal_id: OperationId
    sequence: Annotated[int, Field(strict=True, ge=0, le=limits.TERMINAL_SEQUENCE_MAX)] = 0
    stream: Annotated[str, StringConstraints(pattern=r"^(stdout|stderr)$")] = "stdout"
    text: Annotated[str, StringConstraints(max_length=limits.TERMINAL_TEXT_CHARS_MAX)] = ""


class TerminalClosed(OpenModel):
    """``terminal-closed``: the terminal's shell ended."""

    terminal_id: OperationId
    exit_code: Annotated[int, Field(strict=True, ge=-(2**31), le=2**32 - 1)] | None = None
    truncated: bool = False
    """It printed more than was sent."""


class AnyPayload(OpenModel):
    """The kinds hookbus records and does not act on."""


PAYLOAD_BY_KIND: Final[dict[Kind, type[OpenModel]]] = {
    Kind.SESSION_START: SessionStart,
    Kind.PRE_TASK: PreTask,
    Kind.POST_TASK: PostTask,
    Kind.USAGE: Usage,
    Kind.TERMINAL_OPENED: TerminalOpened,
    Kind.TERMINAL_OUTPUT: TerminalOutput,
    Kind.TERMINAL_CLOSED: TerminalClosed,
}
"""A kind that is absent here has an open payload: see :class:`AnyPayload`."""


def total_tokens(usage: Usage) -> int:
    """All tokens of a usage report: the reported total, or the sum of its kinds."""
    if usage.tokens_used is not None:
        return usage.tokens_used
    return (
        usage.input_tokens
        + usage.output_tokens
        + usage.cache_read_tokens
        + usage.cache_write_5m_tokens
        + usage.cache_write_1h_tokens
    )


ZERO_USD: Final = Decimal(0)
