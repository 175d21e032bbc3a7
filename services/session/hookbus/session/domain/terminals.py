"""Terminals agents opened, and the bounded copy of what they printed.

The audit log keeps every byte; this copy is to look at.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from hookbus.contracts.terminals import TerminalView

TERMINAL_OUTPUT_BYTES_MAX: Final = 1024 * 1024
"""Of one terminal; what comes after it is not kept here and the terminal is marked truncated."""


@dataclass(frozen=True, slots=True)
class Output:
    """A piece of what a terminal printed."""

    event_id: str
    agent_id: str
    terminal_id: str
    sequence: int
    stream: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Terminal:
    """A terminal, named by its agent and the id the agent gave it."""

    agent_id: str
    id: str
    opened_at: datetime
    session_id: str | None = None
    shell: str | None = None
    cwd: str | None = None
    closed_at: datetime | None = None
    exit_code: int | None = None
    output_bytes: int = 0
    truncated: bool = False

    def view(self) -> TerminalView:
        """The terminal as it travels."""
        return TerminalView(
            id=self.id,
            agent_id=self.agent_id,
            session=self.session_id,
            shell=self.shell,
            cwd=self.cwd,
            opened_at=self.opened_at,
            closed_at=self.closed_at,
            exit_code=self.exit_code,
            output_bytes=self.output_bytes,
            truncated=self.truncated,
        )


@dataclass(frozen=True, slots=True)
class TerminalChange:
    """What one terminal event says."""

    agent_id: str
    terminal_id: str
    at: datetime
    session_id: str | None = None
    shell: str | None = None
    cwd: str | None = None
    closes: bool = False
    truncates: bool = False
    """It printed more than its sender sent."""
    exit_code: int | None = None
    output: Output | None = None


def storable(text: str) -> str:
    """``text`` without what PostgreSQL cannot hold (NUL, lone surrogates), each made the replacement character."""
    return "".join("\ufffd" if char == "\x00" or "\ud800" <= char <= "\udfff" else char for char in text)


def opened(change: TerminalChange) -> Terminal:
    """A terminal as its first event finds it."""
    return Terminal(change.agent_id, change.terminal_id, opened_at=change.at)


def changed(terminal: Terminal, change: TerminalChange) -> tuple[Terminal, Output | None]:
    """The terminal after one event, and the output to keep if it still fits."""
    after = replace(
        terminal,
        opened_at=min(terminal.opened_at, change.at),
        session_id=terminal.session_id or change.session_id,
        shell=terminal.shell or change.shell,
        cwd=terminal.cwd or change.cwd,
    )
    if change.closes:
        after = replace(
            after, closed_at=change.at, exit_code=change.exit_code, truncated=after.truncated or change.truncates
        )
    if change.output is None:
        return after, None
    size = len(change.output.text.encode())
    if terminal.truncated or terminal.output_bytes + size > TERMINAL_OUTPUT_BYTES_MAX:
        return replace(after, truncated=True), None
    return replace(after, output_bytes=terminal.output_bytes + size), change.output
