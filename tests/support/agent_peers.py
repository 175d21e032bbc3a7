"""The session service's answers about agents, for a gateway alone."""

from hookbus.contracts import agents
from hookbus.platform.bus.rpc import RpcServer


def serve_agents(server: RpcServer) -> None:
    """Nothing is known of any agent."""

    async def notes(_request: agents.NotesRequest) -> agents.NotesReply:
        return agents.NotesReply(notes=())

    async def objections(_request: agents.ObjectionsRequest) -> agents.ObjectionsReply:
        return agents.ObjectionsReply(objections=())

    async def forget_agent(_request: agents.ForgetAgentRequest) -> agents.ForgetAgentReply:
        return agents.ForgetAgentReply(notes=0, objections=0)

    server.method("notes", agents.NotesRequest, notes)
    server.method("objections", agents.ObjectionsRequest, objections)
    server.method("forget_agent", agents.ForgetAgentRequest, forget_agent)
