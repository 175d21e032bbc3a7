"""Requests in: what agents ask about themselves, and their notes."""

from typing import Final

from hookbus.contracts.agents import (
    ForgetAgentReply,
    ForgetAgentRequest,
    NotesReply,
    NotesRequest,
    ObjectionsReply,
    ObjectionsRequest,
)
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.platform.database.engine import Database
from hookbus.session.domain import cursor
from hookbus.session.handlers import utc_now
from hookbus.session.repository import agent_records, terminals

TERMINALS_MAX: Final = 1_000_000
"""Of one agent that are forgotten together."""


class AgentRequests:
    """The methods ``notes``, ``objections`` and ``forget_agent``."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # Single reads need no transaction, which saves two round trips.
        self._reading = database.engine.execution_options(isolation_level="AUTOCOMMIT")

    def register(self, server: DirectRpcServer) -> None:
        """Answer every method. Call before the broker starts."""
        server.method("notes", NotesRequest, self.notes)
        server.method("objections", ObjectionsRequest, self.objections)
        server.method("forget_agent", ForgetAgentRequest, self.forget_agent)

    async def notes(self, request: NotesRequest) -> NotesReply:
        """A page of notes, newest first."""
        before = cursor.decode(request.cursor)
        async with self._reading.connect() as connection:
            page = await agent_records.notes(connection, request, before)
        full = len(page) == request.page_items_max
        return NotesReply(notes=tuple(page), cursor=cursor.encode(page[-1].at, page[-1].id) if full else None)

    async def objections(self, request: ObjectionsRequest) -> ObjectionsReply:
        """An agent's last objections, newest first."""
        async with self._reading.connect() as connection:
            return ObjectionsReply(objections=tuple(await agent_records.objections(connection, request)))

    async def forget_agent(self, request: ForgetAgentRequest) -> ForgetAgentReply:
        """Remove what is kept here of an agent; repeating it removes nothing more."""
        async with self._database.begin() as connection:
            notes, objections = await agent_records.forget(connection, request.agent_id)
            await terminals.forget(connection, before=utc_now(), items_max=TERMINALS_MAX, agent_id=request.agent_id)
        return ForgetAgentReply(notes=notes, objections=objections)
