"""The guard's mode over HTTP: what a production gateway refuses, what a lenient one tags and records."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.bus import last_event
from support.events import unique
from support.gateway_service import GatewayProcess, gateway_process
from support.guard_corpus import injections, ordinary_code
from support.servers import NatsFixture

ATTACKS = [(tag, texts[0]) for tag, texts in injections().items()]


@pytest.fixture(scope="module")
async def production(
    nats_server: NatsFixture, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    """A gateway that is told nothing but that it is in production."""
    folder = tmp_path_factory.mktemp("production")
    async with gateway_process(nats_server, folder, {"HOOKBUS_ENV": "production"}) as process:
        yield process


async def decided(gateway: GatewayProcess, agent: str, **tool_input: Any) -> dict[str, Any]:
    tool = "Bash" if "command" in tool_input else "Write"
    data = {"tool": tool, "tool_input": tool_input, "cwd": "/home/dev/web"}
    body: dict[str, Any] = {"kind": "pre-task", "agent_id": agent, "session": "s-ok", "data": data}
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/decide", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("tag", "text"), ATTACKS)
async def test_lenient_lets_pass_and_tags_the_answer_and_the_record(
    gateway: GatewayProcess, tag: str, text: str
) -> None:
    agent = unique("agent")
    answer = await decided(gateway, agent, file_path="src/a.txt", content=f"x\n{text}\ny")
    assert (answer["decision"], answer["tags"]) == ("allow", [tag])
    event = await last_event(gateway.nats, "HOOKS", f"hooks.pre-task.{agent}")
    assert event is not None
    assert (event.decision, event.inputtags) == ("allow", tag)
    tool_input = event.data["tool_input"]
    assert isinstance(tool_input, dict)
    assert tool_input["content"] == f"x\n{text}\ny"


@pytest.mark.parametrize(("tag", "text"), ATTACKS)
async def test_production_refuses_what_lenient_tags(production: GatewayProcess, tag: str, text: str) -> None:
    agent = unique("agent")
    answer = await decided(production, agent, file_path="src/a.txt", content=text)
    assert (answer["decision"], answer["code"], answer["tags"]) == ("deny", "input_refused", [tag])
    event = await last_event(production.nats, "HOOKS", f"hooks.pre-task.{agent}")
    assert event is not None
    assert (event.decision, event.decisioncode, event.inputtags) == ("deny", "input_refused", tag)


async def test_production_lets_ordinary_code_pass(production: GatewayProcess) -> None:
    agent = unique("agent")
    answer = await decided(production, agent, file_path="src/a.txt", content="\n".join(ordinary_code()))
    assert (answer["decision"], answer["tags"]) == ("allow", [])


@pytest.mark.parametrize(("command", "why"), [("echo 'open", "cannot be read"), ("a;" * 30_000, "too long")])
async def test_what_cannot_be_judged_is_asked_about_or_refused(
    gateway: GatewayProcess, production: GatewayProcess, command: str, why: str
) -> None:
    for process, verdict in ((production, "deny"), (gateway, "ask")):
        answer = await decided(process, unique("agent"), command=command)
        assert (answer["decision"], answer["code"]) == (verdict, "command_refused")
        assert why in answer["reason"]


async def test_a_swarm_of_values_is_refused_in_production(production: GatewayProcess) -> None:
    body: dict[str, Any] = {
        "kind": "pre-task",
        "agent_id": unique("agent"),
        "data": {"tool": "x", "tool_input": {"a": [{}] * 9_000}},
    }
    async with production.client("events") as client:
        answer = await client.post("/api/v1/decide", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "input_refused")
