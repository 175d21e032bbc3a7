"""``hookbus mcp`` as an agent uses it: by the protocol's own client, over stdio and HTTP, on the whole stack."""

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from support.commands import HOOKBUS, hookbus
from support.events import unique
from support.stack import StackFixture
from support.waiting import eventually

TOOLS = {"budget", "status", "why_denied", "store_note", "search_notes"}
WAIT_S = 60.0
TRANSPORTS = ("stdio", "http")
NOWHERE = "http://127.0.0.1:9"
AGENT_SCOPES = ("events", "budget:read")


@dataclass(frozen=True)
class Key:
    """An agent's own API key."""

    id: str
    text: str


@pytest.fixture(scope="module")
def key(stack: StackFixture) -> Key:
    """A key with no more than an agent's scopes."""
    return new_key(stack, *AGENT_SCOPES)


def new_key(stack: StackFixture, *scopes: str) -> Key:
    made = hookbus(stack, "key", "create", "mcp", *(f"--scope={scope}" for scope in scopes), "--json").json()
    return Key(made["key"]["key_id"], made["api_key"])


@contextlib.asynccontextmanager
async def http_server(stack: StackFixture, agent: str, **settings: str) -> AsyncGenerator[str]:
    """The address of a server of its own; the key of its own settings is not usable."""
    process = subprocess.Popen(
        [HOOKBUS, "mcp", "--http", "--port", "0", "--agent", agent, "--project", "atlas"],
        env={**stack.environment, "HOOKBUS_API_KEY": "hbk_none", **settings},
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stderr is not None
        line = await asyncio.to_thread(process.stderr.readline)
        yield line.decode().split()[-1]
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait, WAIT_S) in (0, -15)
        assert process.stderr is not None
        process.stderr.close()


@contextlib.asynccontextmanager
async def connected(
    stack: StackFixture, transport: str, key: Key, agent: str, **settings: str
) -> AsyncGenerator[Client]:
    """A client of a server for ``agent`` that calls with ``key``."""
    if transport == "stdio":
        environment = {**stack.environment, "HOOKBUS_API_KEY": key.text, "HOOKBUS_AGENT_ID": agent, **settings}
        server = StdioServerParameters(command=HOOKBUS, args=["mcp", "--project", "atlas"], env=environment)
        async with Client(server) as client:
            yield client
        return
    async with (
        http_server(stack, agent, **settings) as url,
        httpx2.AsyncClient(headers={"authorization": f"Bearer {key.text}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def told(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool answers."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def refused(client: Client, tool: str, **arguments: object) -> str:
    """The words with which a tool fails."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    return " ".join(str(getattr(part, "text", "")) for part in result.content)


def api(stack: StackFixture) -> httpx.Client:
    return httpx.Client(base_url=stack.url, headers=stack.headers, timeout=30)


def decide(stack: StackFixture, agent: str, session: str, command: str) -> dict[str, Any]:
    data = {"tool": "Bash", "tool_input": {"command": command}, "cwd": "/tmp"}
    body = {"kind": "pre-task", "agent_id": agent, "session": session, "data": data}
    with api(stack) as client:
        answer = client.post("/api/v1/decide", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_an_agent_reads_its_own_budget_and_why_it_was_denied(
    stack: StackFixture, key: Key, transport: str
) -> None:
    """Exactly five tools; budget, status and reasons are the agent's own, also after its session was killed."""
    agent, session = unique("mcp"), unique("s")
    with api(stack) as client:
        client.post(f"/api/v1/budget/init/{agent}", json={"tokens_per_hour": 5_000}).raise_for_status()
    denied = decide(stack, agent, session, "rm -rf /")
    assert denied["decision"] == "deny"
    decide(stack, unique("other"), unique("s"), "rm -rf /")
    async with connected(stack, transport, key, agent) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
        remaining = (await told(client, "budget"))["remaining"]
        assert {(one["unit"], one["window"], str(one["amount"])) for one in remaining} >= {("tokens", "hour", "5000")}

        async def explained() -> bool:
            return len((await told(client, "why_denied"))["objections"]) == 1

        await eventually(explained, WAIT_S)
        (objection,) = (await told(client, "why_denied", session=session))["objections"]
        assert (objection["event_id"], objection["code"], objection["reason"], objection["tool"]) == (
            denied["event_id"],
            denied["code"],
            denied["reason"],
            "Bash",
        )
        assert (await told(client, "why_denied", session=unique("s")))["objections"] == []

        async def seen() -> bool:
            return [one["id"] for one in (await told(client, "status"))["sessions"]] == [session]

        await eventually(seen, WAIT_S)
        with api(stack) as http:
            http.post(f"/api/v1/sessions/{session}/kill", json={"reason": "enough of it"}).raise_for_status()
        (killed,) = (await told(client, "status", session=session))["sessions"]
        assert (killed["state"], killed["kill_reason"]) == ("killed", "enough of it")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_note_of_one_agent_is_found_by_another_under_its_tags(
    stack: StackFixture, key: Key, transport: str
) -> None:
    writer, word = unique("writer"), unique("word")
    text = f"The parser drops {word} on purpose\nsee the second paragraph"
    async with connected(stack, transport, key, writer) as client:
        stored = await told(client, "store_note", text=text, category="Bug Fix", intent="documentation")
    assert stored["tags"] == {
        "agent_id": writer,
        "agent_category": "bug-fix",
        "project": "atlas",
        "intent": "documentation",
    }
    async with connected(stack, transport, key, unique("reader")) as client:
        wish = {"query": word, "agent": writer, "category": "bug-fix", "project": "atlas", "intent": "documentation"}

        async def found() -> bool:
            return [note["id"] for note in (await told(client, "search_notes", **wish))["notes"]] == [stored["stored"]]

        await eventually(found, WAIT_S)
        (note,) = (await told(client, "search_notes", query=word))["notes"]
        assert (note["text"], note["agent_id"]) == (text, writer)
        for other in ({"category": "testing"}, {"project": "other"}, {"until": "2020-01-01T00:00:00Z"}):
            assert (await told(client, "search_notes", query=word, **other))["notes"] == []
    with api(stack) as http:

        def audited() -> bool:
            entries = http.get("/api/v1/audit/entries", params={"agent": writer}).json()["entries"]
            return [entry["event"]["id"] for entry in entries] == [stored["stored"]]

        await eventually(audited, WAIT_S)
        http.delete(f"/api/v1/audit/subjects/{writer}").raise_for_status()
        assert http.get("/api/v1/notes", params={"agent": writer}).json()["notes"] == []


async def test_nothing_an_agent_can_say_raises_its_limits(stack: StackFixture, key: Key) -> None:
    """No tool takes a limit, words in a note change none, and the agent's own key is refused at every door that
    does."""
    agent = unique("mcp")
    limits = {"limits": [{"unit": "tokens", "window": "hour", "amount": 10}]}
    more = {"limits": [{"unit": "tokens", "window": "hour", "amount": 10**9}]}
    with api(stack) as admin:
        admin.post(f"/api/v1/budget/init/{agent}", json=limits).raise_for_status()
        before = admin.get(f"/api/v1/budget/status/{agent}").json()
        async with connected(stack, "stdio", key, agent) as client:
            for tool in (await client.list_tools()).tools:
                assert not {"limits", "limit_tokens", "amount", "agent_id"} & set(tool.input_schema["properties"])
                assert tool.annotations is not None
                assert tool.annotations.read_only_hint is (tool.name != "store_note")
            await told(
                client, "store_note", text='{"limits": [{"unit": "tokens", "window": "hour", "amount": 1000000}]}'
            )
            await client.call_tool("budget", more)
        with httpx.Client(base_url=stack.url, headers={"authorization": f"Bearer {key.text}"}) as own:
            for method, path, body in (
                ("POST", f"/api/v1/budget/init/{agent}", more),
                ("POST", f"/api/v1/budget/reset/{agent}", {}),
                ("POST", "/api/v1/budget/scopes/global/all", more),
                ("POST", "/api/v1/keys", {"name": "mine", "scopes": ["admin"]}),
                ("POST", f"/api/v1/sessions/{agent}/revive", {}),
            ):
                assert own.request(method, path, json=body).status_code == 403, path
        assert admin.get(f"/api/v1/budget/status/{agent}").json() == before


async def test_over_http_every_request_bears_a_key_that_the_gateway_takes(stack: StackFixture, key: Key) -> None:
    """No key, a wrong one, one without the scope and a revoked one stay outside, as does a page of another host."""
    lacking, revoked = new_key(stack, "session"), new_key(stack, *AGENT_SCOPES)
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"accept": "application/json, text/event-stream"}
    async with http_server(stack, unique("mcp")) as url, httpx.AsyncClient(headers=accept, timeout=30) as client:

        async def status(credential: str | None, **headers: str) -> int:
            bearer = {} if credential is None else {"authorization": credential}
            return (await client.post(url, json=call, headers={**bearer, **headers})).status_code

        assert await status(f"Bearer {key.text}") == 200
        assert await status(f"Bearer {revoked.text}") == 200
        for credential in (None, "Bearer", f"Basic {key.text}", "Bearer hbk_none", f"Bearer {key.text}x"):
            assert await status(credential) == 401, credential
        assert await status(f"Bearer {lacking.text}") == 403
        assert await status(f"Bearer {key.text}", host="evil.example") == 421
        assert await status(f"Bearer {key.text}", origin="http://evil.example") == 403
        large = await client.post(
            url, content=b'"' + b"x" * 300_000 + b'"', headers={"authorization": f"Bearer {key.text}"}
        )
        assert large.status_code in (400, 406, 413)
        hookbus(stack, "key", "revoke", revoked.id)

        async def shut_out() -> bool:
            return await status(f"Bearer {revoked.text}") == 401

        await eventually(shut_out, WAIT_S)
    async with (
        http_server(stack, unique("mcp"), HOOKBUS_URL=NOWHERE) as url,
        httpx.AsyncClient(headers=accept) as client,
    ):
        answer = await client.post(url, json=call, headers={"authorization": f"Bearer {key.text}"})
        assert answer.status_code == 503


async def test_what_goes_wrong_is_told_in_words_and_the_server_goes_on(stack: StackFixture, key: Key) -> None:
    agent, other = unique("mcp"), unique("mcp")
    session = unique("s")
    decide(stack, other, session, "true")
    async with connected(stack, "stdio", key, agent) as client:
        assert "404" in await refused(client, "budget")
        assert "404" in await refused(client, "status", session=unique("s"))
        with api(stack) as http:
            await eventually(lambda: http.get(f"/api/v1/sessions/{session}").status_code == 200, WAIT_S)
        assert "404" in await refused(client, "status", session=session)
        for arguments in ({"text": ""}, {"text": "  "}, {"text": "x" * 4_001}, {"text": 7}, {}):
            await refused(client, "store_note", **arguments)
        assert "since" in await refused(client, "search_notes", since="yesterday")
        await refused(client, "why_denied", limit=1_000)
        await refused(client, "no_such_tool")
        assert (await told(client, "why_denied"))["objections"] == []
    async with connected(stack, "stdio", Key("", "hbk_wrong"), agent) as client:
        assert "refuses the API key" in await refused(client, "budget")
    async with connected(stack, "stdio", new_key(stack, "events"), agent) as client:
        assert "lacks the scope" in await refused(client, "budget")
        assert (await told(client, "status"))["sessions"] == []
    async with connected(stack, "stdio", key, agent, HOOKBUS_URL=NOWHERE) as client:
        assert "does not answer" in await refused(client, "store_note", text="lost?")


def test_wrong_usage_is_refused_at_once(stack: StackFixture) -> None:
    for arguments in ([], ["--agent", "a b"], ["--agent", "a", "--project", "///"]):
        done = hookbus(stack, "mcp", *arguments)
        assert (done.code, done.out) == (2, ""), arguments
    taken = stack.url.rpartition(":")[2]
    assert hookbus(stack, "mcp", "--agent", "a", "--http", "--port", taken).code == 2
