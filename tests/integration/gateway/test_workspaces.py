"""A session is judged by where it began, whatever folder its agent changes to, at every gateway and after a restart."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.events import unique
from support.gateway_service import GatewayProcess, gateway_process
from support.servers import NatsFixture

BEGAN, MOVED = "/home/dev/web", "/home/dev/other"


async def decided(gateway: GatewayProcess, session: str | None, cwd: str | None, path: str, **more: Any) -> str:
    """``allow``, or the code of the objection."""
    data = {"tool": "Write", "tool_input": {"file_path": path}} | ({} if cwd is None else {"cwd": cwd})
    body = {"kind": "pre-task", "agent_id": "agent", "data": data, **more}
    if session is not None:
        body["session"] = session
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/decide", json=body)
    assert answer.status_code == 200, answer.text
    return "allow" if answer.json()["decision"] == "allow" else answer.json()["code"]


async def started(gateway: GatewayProcess, session: str, cwd: str) -> None:
    body = {"kind": "session-start", "agent_id": "agent", "session": session, "data": {"cwd": cwd}}
    async with gateway.client("events") as client:
        assert (await client.post("/api/v1/events", json=body)).status_code == 202


async def started_by_hook(gateway: GatewayProcess, session: str, cwd: str) -> None:
    body = {"session_id": session, "cwd": cwd, "hook_event_name": "SessionStart", "source": "startup"}
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/hooks/claude-code", json=body, params={"agent_id": "agent"})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("start", [None, started, started_by_hook])
async def test_an_agent_that_changes_its_folder_does_not_move_its_workspace(
    gateway: GatewayProcess, start: Any
) -> None:
    """Its paths are read where it runs and judged by where it began; a folder below is as good."""
    session = unique("s")
    if start is None:
        assert await decided(gateway, session, BEGAN, "src/a") == "allow"
    else:
        await start(gateway, session, BEGAN)
    assert await decided(gateway, session, MOVED, "a") == "path_outside_workspace"
    assert await decided(gateway, session, MOVED, f"{MOVED}/a") == "path_outside_workspace"
    assert await decided(gateway, session, "/", "etc/passwd") == "path_outside_workspace"
    assert await decided(gateway, session, f"{BEGAN}/src", "a") == "allow"
    assert await decided(gateway, session, f"{BEGAN}/src", "../b") == "allow"
    assert await decided(gateway, session, f"{BEGAN}/src", "../../b") == "path_outside_workspace"
    assert await decided(gateway, session, MOVED, f"{BEGAN}/a") == "allow"
    assert await decided(gateway, session, "/tmp/x", "a") == "allow"


async def test_what_is_no_folder_pins_nothing(gateway: GatewayProcess) -> None:
    session = unique("s")
    assert await decided(gateway, session, "/", "/etc/passwd") == "path_outside_workspace"
    assert await decided(gateway, session, None, "a") == "allow"
    assert await decided(gateway, session, BEGAN, f"{BEGAN}/a") == "allow"
    assert await decided(gateway, session, MOVED, f"{MOVED}/a") == "path_outside_workspace"


async def test_without_a_session_the_hooks_folder_counts(gateway: GatewayProcess) -> None:
    for folder in (BEGAN, MOVED):
        assert await decided(gateway, None, folder, f"{folder}/a") == "allow"


async def test_every_gateway_pins_the_same_folder(
    gateway: GatewayProcess, nats_server: NatsFixture, tmp_path: Path
) -> None:
    """Two gateways that meet a session at once agree, and one started later knows."""
    sessions = [unique("s") for _ in range(10)]
    async with gateway_process(nats_server, tmp_path / "second") as second:
        for session in sessions:
            first = await asyncio.gather(
                *(decided(one, session, cwd, f"{cwd}/a") for one, cwd in ((gateway, BEGAN), (second, MOVED)))
            )
            assert first.count("allow") >= 1
        found = [
            [await decided(one, session, BEGAN, f"{BEGAN}/a") for one in (gateway, second)] for session in sessions
        ]
        assert all(left == right for left, right in found)
    async with gateway_process(nats_server, tmp_path / "third") as third:
        again = [await decided(third, session, BEGAN, f"{BEGAN}/a") for session in sessions]
    assert again == [left for left, _ in found]


@pytest.fixture(scope="module")
async def configured(
    nats_server: NatsFixture, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[GatewayProcess]:
    """A gateway with a list of folders alone, and one project's own."""
    environment = {
        "HOOKBUS_WORKSPACE": "listed",
        "HOOKBUS_WORKSPACE_ROOTS": '["/srv/shared"]',
        "HOOKBUS_PROJECT_ROOTS": json.dumps({"web": ["/srv/web"]}),
    }
    async with gateway_process(nats_server, tmp_path_factory.mktemp("listed"), environment) as process:
        yield process


async def test_a_list_of_folders_alone(configured: GatewayProcess) -> None:
    session = unique("s")
    assert await decided(configured, session, BEGAN, "a") == "path_outside_workspace"
    assert await decided(configured, session, BEGAN, "/srv/shared/a") == "allow"
    assert await decided(configured, session, "/srv/shared/sub", "a") == "allow"
    assert await decided(configured, session, BEGAN, "/srv/web/a") == "path_outside_workspace"


async def test_a_projects_own_folders(configured: GatewayProcess) -> None:
    for path, expected in (("/srv/web/a", "allow"), ("/srv/shared/a", "allow"), ("a", "path_outside_workspace")):
        assert await decided(configured, unique("s"), BEGAN, path, project="web") == expected
