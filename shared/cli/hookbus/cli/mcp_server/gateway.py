"""What the tools ask of the gateway: reads, and one kind of event. There is no call here that changes a limit."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

import httpx
from mcp.server.mcpserver.exceptions import ToolError

from hookbus.client import identity
from hookbus.client.settings import Settings

TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 3.0
DETAIL_CHARS_MAX: Final = 500
PROBE_PATH: Final = "/otlp/v1/metrics"
"""Takes a valid key with the scope ``events`` and leaves no trace."""
SOURCE: Final = "hookbus/mcp"

JsonObject = dict[str, Any]


class AgentGateway:
    """The gateway as one agent sees it; use as a context manager. Each call names the key it is made with."""

    def __init__(self, settings: Settings, agent_id: str, project: str | None) -> None:
        self.agent_id = agent_id
        self.project = project
        self.url = settings.url
        self._client = httpx.AsyncClient(
            base_url=settings.url,
            headers={"accept": "application/json"},
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # A proxy of the environment is for the world outside; the gateway is named by its own address.
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def get(self, api_key: str | None, path: str, **parameters: object) -> JsonObject:
        """GET; parameters that are None are left out.

        Raises:
            ToolError: the gateway is away, or its problem in words.
        """
        query = {name: str(value) for name, value in parameters.items() if value is not None}
        return await self._send(api_key, "GET", path, params=query)

    async def publish_note(self, api_key: str | None, text: str, attributes: Mapping[str, str]) -> JsonObject:
        """Store a note as an event: 202 means that the bus has it on disk. Raises as :meth:`get` does."""
        event = {
            "id": identity.event_id(),
            "kind": "notification",
            "agent_id": self.agent_id,
            "source": SOURCE,
            "data": {"note": text},
            **attributes,
        }
        return await self._send(api_key, "POST", "/api/v1/events", json=event)

    async def check_key(self, api_key: str) -> int:
        """The status with which the gateway answers a key; 503 where it does not answer at all."""
        try:
            answer = await self._client.post(PROBE_PATH, json={}, headers=_bearer(api_key))
        except httpx.HTTPError:
            return 503
        return answer.status_code

    async def _send(self, api_key: str | None, method: str, path: str, **options: Any) -> JsonObject:
        try:
            answer = await self._client.request(method, path, headers=_bearer(api_key), **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ToolError(f"the gateway does not answer: {type(error).__name__}; try again later") from error
        try:
            parsed: object = answer.json()
        except ValueError:
            parsed = None
        body = cast("JsonObject", parsed) if isinstance(parsed, dict) else {}
        if answer.is_success and body:
            return body
        raise ToolError(_words(answer.status_code, body))


def _bearer(api_key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"} if api_key is not None else {}


def _words(status: int, problem: JsonObject) -> str:
    detail = str(problem.get("detail") or problem.get("title") or "no detail")[:DETAIL_CHARS_MAX]
    if status == 401:
        return f"the gateway refuses the API key: {detail}"
    if status == 403:
        return f"the API key lacks the scope for this (events, and budget:read for the budget): {detail}"
    faults = cast("list[JsonObject]", problem.get("errors") or [])
    where = "; ".join(f"{fault.get('loc')}: {fault.get('msg')}" for fault in faults[:3])
    return f"the gateway answers {status}: {detail}{f' ({where})' if where else ''}"
