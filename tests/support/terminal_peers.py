"""The session service's answers about terminals, for a gateway alone."""

from datetime import UTC, datetime

from hookbus.contracts import terminals
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcServer

OPENED_AT = datetime(2026, 11, 23, tzinfo=UTC)


def serve_terminals(server: RpcServer) -> None:
    """Every session has no terminal; every agent has the one named ``t-1``."""

    async def terminal_list(_request: terminals.TerminalListRequest) -> terminals.TerminalListReply:
        return terminals.TerminalListReply(terminals=())

    async def terminal(request: terminals.TerminalRequest) -> terminals.TerminalReply:
        if request.id != "t-1":
            raise ProblemError(ProblemCode.NOT_FOUND, f"no terminal {request.id}")
        view = terminals.TerminalView(
            id=request.id, agent_id=request.agent_id, opened_at=OPENED_AT, output_bytes=0, truncated=False
        )
        return terminals.TerminalReply(terminal=view, output=())

    server.method("terminal_list", terminals.TerminalListRequest, terminal_list)
    server.method("terminal", terminals.TerminalRequest, terminal)
