"""Requests in: the terminals of a session, and what one of them printed."""

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.terminals import (
    OutputPiece,
    TerminalListReply,
    TerminalListRequest,
    TerminalReply,
    TerminalRequest,
)
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.platform.database.engine import Database
from hookbus.session.repository import terminals as terminal_rows


class TerminalRequests:
    """The methods ``terminal_list`` and ``terminal``."""

    def __init__(self, database: Database) -> None:
        # Single reads need no transaction, which saves two round trips.
        self._reading = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    def register(self, server: DirectRpcServer) -> None:
        """Answer every method. Call before the broker starts."""
        server.method("terminal_list", TerminalListRequest, self.terminal_list)
        server.method("terminal", TerminalRequest, self.terminal)

    async def terminal_list(self, request: TerminalListRequest) -> TerminalListReply:
        """The terminals of a session, newest first; none where it has none or is not known."""
        async with self._reading.connect() as connection:
            found = await terminal_rows.of_session(connection, request.session, request.items_max)
        return TerminalListReply(terminals=tuple(terminal.view() for terminal in found))

    async def terminal(self, request: TerminalRequest) -> TerminalReply:
        """One terminal with a page of what it printed, in its order."""
        after = -1 if request.after is None else request.after
        async with self._reading.connect() as connection:
            found = await terminal_rows.find(connection, request.agent_id, request.id)
            if found is None:
                raise ProblemError(ProblemCode.NOT_FOUND, f"no terminal {request.id} of {request.agent_id}")
            page = await terminal_rows.outputs(
                connection, request.agent_id, request.id, after=after, items_max=request.pieces_max
            )
        pieces = tuple(OutputPiece(sequence=o.sequence, stream=o.stream, text=o.text, at=o.at) for o in page)
        full = len(pieces) == request.pieces_max
        return TerminalReply(terminal=found.view(), output=pieces, next=pieces[-1].sequence if full else None)
