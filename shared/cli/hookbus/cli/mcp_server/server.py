"""The tools. Each reads, but one, which stores a note; none can change a limit, a session or a key."""

from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from hookbus.cli.mcp_server.gateway import AgentGateway, JsonObject
from hookbus.client.tags import CATEGORIES, INTENTS, Tags
from hookbus.contracts.agents import NOTE_CHARS_MAX, QUERY_CHARS_MAX
from hookbus.contracts.limits import IDENTIFIER_CHARS_MAX

NAME: Final = "hookbus"
ITEMS_MAX: Final = 50
INSTRUCTIONS: Final = (
    "Hookbus limits what this agent may spend and decides about its tool calls. Ask `budget` before long work, "
    "`why_denied` after a tool call was refused, `status` for the risk of the session. Leave what others should know "
    "with `store_note` and look for it with `search_notes`; every agent of this installation can read notes, so put "
    "no secrets into them. Limits are set by people: nothing here changes one."
)

READS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
ADDS: Final = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False)

Session = Annotated[str | None, Field(description="A session id; without it the last one.", max_length=128)]
Items = Annotated[int, Field(ge=1, le=ITEMS_MAX, description="At most so many.")]
Tag = Annotated[str | None, Field(max_length=IDENTIFIER_CHARS_MAX)]
Category = Annotated[Tag, Field(description=f"WHO wrote it: {', '.join(CATEGORIES)}.")]
Project = Annotated[Tag, Field(description="PROJECT it belongs to.")]
Intent = Annotated[Tag, Field(description=f"WHY it was written: {', '.join(INTENTS)}.")]
Moment = Annotated[str | None, Field(description="WHEN, RFC 3339 with a zone: 2026-11-23T12:00:00Z.", max_length=64)]


class Caller:
    """Whose key a call is made with: the one of the settings, or with HTTP the one the caller brought."""

    def __init__(self, api_key: str | None, *, from_request: bool) -> None:
        self._api_key = api_key
        self._from_request = from_request

    def key(self, context: Context[Any, Any]) -> str | None:
        """The API key. Over HTTP it was accepted by the gateway before the call came here."""
        if not self._from_request:
            return self._api_key
        scheme, _, credential = (context.headers or {}).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential.strip():
            raise ToolError("the request bears no API key")
        return credential.strip()


def build(gateway: AgentGateway, caller: Caller) -> MCPServer[Any]:
    """The server with its tools, for the agent that ``gateway`` speaks for."""
    server: MCPServer[Any] = MCPServer(NAME, instructions=INSTRUCTIONS, log_level="WARNING", subscriptions=False)
    own = f"/api/v1/agents/{gateway.agent_id}"

    @server.tool(annotations=READS)
    async def budget(context: Context[Any, Any]) -> JsonObject:  # pyright: ignore[reportUnusedFunction]  # the decorator registers it
        """Your own budget: each limit with what is spent, held and left, and when it starts anew."""
        return await gateway.get(caller.key(context), f"/api/v1/budget/status/{gateway.agent_id}")

    @server.tool(annotations=READS)
    async def status(context: Context[Any, Any], session: Session = None) -> JsonObject:  # pyright: ignore[reportUnusedFunction]  # as above
        """Your own sessions: active, ended or killed and why, and the evidence behind the risk of the first one."""
        found = await gateway.get(caller.key(context), f"{own}/sessions", session=session)
        return {"agent_id": gateway.agent_id, **found}

    @server.tool(annotations=READS)
    async def why_denied(context: Context[Any, Any], session: Session = None, limit: Items = 5) -> JsonObject:  # pyright: ignore[reportUnusedFunction]  # as above
        """Your last tool calls that were denied or put to a person, newest first, each with its reason and code."""
        return await gateway.get(caller.key(context), f"{own}/objections", session=session, limit=limit)

    @server.tool(annotations=ADDS)
    async def store_note(  # pyright: ignore[reportUnusedFunction]  # as above
        context: Context[Any, Any],
        text: Annotated[str, Field(min_length=1, max_length=NOTE_CHARS_MAX)],
        category: Category = None,
        project: Project = None,
        intent: Intent = None,
    ) -> JsonObject:
        """Store a note for later sessions and other agents. It stays in the audit log; put no secrets into it."""
        if not text.strip():
            raise ToolError("the note is empty")
        said = {"agent_category": category, "project": project or gateway.project, "intent": intent}
        attributes = Tags(said).attributes()
        reply = await gateway.publish_note(caller.key(context), text, attributes)
        accepted: list[JsonObject] = reply.get("accepted") or []
        if not accepted:
            raise ToolError("the gateway did not take the note")
        return {"stored": accepted[0]["id"], "tags": {"agent_id": gateway.agent_id, **attributes}}

    @server.tool(annotations=READS)
    async def search_notes(  # noqa: PLR0917 # pyright: ignore[reportUnusedFunction]  # each is a tag to search by; registered by the decorator
        context: Context[Any, Any],
        query: Annotated[
            str | None, Field(max_length=QUERY_CHARS_MAX, description='All these words; "a phrase", or, -word.')
        ] = None,
        agent: Annotated[Tag, Field(description="WHO: the id of the agent that wrote it.")] = None,
        category: Category = None,
        project: Project = None,
        intent: Intent = None,
        since: Moment = None,
        until: Moment = None,
        limit: Items = 10,
    ) -> JsonObject:
        """Search the notes of all agents by words and by their WHO, WHEN, PROJECT and WHY tags, newest first."""
        attributes = Tags({"agent_category": category, "project": project, "intent": intent}).attributes()
        return await gateway.get(
            caller.key(context),
            "/api/v1/notes",
            query=query,
            agent=agent,
            since=since,
            until=until,
            limit=limit,
            **attributes,
        )

    return server
