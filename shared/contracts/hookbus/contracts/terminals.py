"""Requests and replies about the terminals agents opened: the session service's copy of what they printed."""

from typing import Annotated, Final

from pydantic import Field

from hookbus.contracts import limits
from hookbus.contracts.fields import AgentId, OperationId, SessionId, UtcTime, WireModel

TERMINALS_LISTED_MAX: Final = 100
PIECES_PAGE_MAX: Final = 4
"""A piece is up to 64 Ki characters, each up to six bytes in JSON, and a reply is one message of at most 2 MiB."""


class TerminalView(WireModel):
    """One terminal. ``truncated`` says that it printed more than is kept here; the audit log keeps all it was sent."""

    id: str
    agent_id: str
    session: str | None = None
    shell: str | None = None
    cwd: str | None = None
    opened_at: UtcTime
    closed_at: UtcTime | None = None
    exit_code: int | None = None
    output_bytes: int
    truncated: bool


class TerminalListRequest(WireModel):
    """``terminal_list``: those of one session, newest first."""

    session: SessionId
    items_max: Annotated[int, Field(ge=1, le=TERMINALS_LISTED_MAX)] = TERMINALS_LISTED_MAX


class TerminalListReply(WireModel):
    """The answer of ``terminal_list``."""

    terminals: tuple[TerminalView, ...]


class TerminalRequest(WireModel):
    """``terminal``: what it printed after the piece numbered ``after``; from the start without it."""

    agent_id: AgentId
    id: OperationId
    after: Annotated[int, Field(ge=0, le=limits.TERMINAL_SEQUENCE_MAX)] | None = None
    pieces_max: Annotated[int, Field(ge=1, le=PIECES_PAGE_MAX)] = PIECES_PAGE_MAX


class OutputPiece(WireModel):
    """A piece of what a terminal printed."""

    sequence: int
    stream: str
    text: str
    at: UtcTime


class TerminalReply(WireModel):
    """``next`` is the ``after`` of the next page, None on the last one."""

    terminal: TerminalView
    output: tuple[OutputPiece, ...]
    next: int | None = None
