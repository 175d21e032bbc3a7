"""A pre-task does not overtake what waits of its own session, and what waits of others does not hold it up."""

from pathlib import Path
from typing import Any

import pytest
from support.hookbus_command import Command, Run
from support.scripted_gateway import Request, Response, ScriptedGateway, problem

from hookbus.client import Client

AWAY = {"HOOKBUS_URL": "http://127.0.0.1:9", "HOOKBUS_DEADLINE_S": "0.2"}
PATIENT = {"HOOKBUS_DEADLINE_S": "60"}
WAITING = 5


def spooled(hookbus: Command, session: str, **environ: str) -> list[str]:
    """Prompts of a session that wait."""
    prompts = [f"{session} {number}" for number in range(WAITING)]
    for prompt in prompts:
        payload = {"hook_event_name": "UserPromptSubmit", "session_id": session, "prompt": prompt}
        assert hookbus("hook", "claude-code", stdin=payload, **{**AWAY, **environ}).exit_code == 0
    return prompts


def pre_task(hookbus: Command, session: str, url: str, **environ: str) -> Run:
    payload = {
        "hook_event_name": "PreToolUse",
        "session_id": session,
        "tool_name": "Bash",
        "tool_input": {"command": "ls"},
    }
    run = hookbus("hook", "claude-code", stdin=payload, HOOKBUS_URL=url, **{**PATIENT, **environ})
    assert (run.exit_code, run.answer) == (0, None)
    return run


def told(gateway: ScriptedGateway) -> list[str]:
    """What came, in its order: the text of a prompt, or ``decide``."""
    order: list[str] = []
    for request in gateway.requests:
        events: list[dict[str, Any]] = request.body if isinstance(request.body, list) else [request.body]  # pyright: ignore[reportUnknownVariableType]  # parsed JSON
        decides = request.path == "/api/v1/decide"
        order += ["decide" if decides else event["data"].get("prompt", "pre-task") for event in events]
    return order


@pytest.mark.parametrize("sealed", [False, True])
def test_a_pre_task_comes_behind_what_waits_of_its_session(hookbus: Command, tmp_path: Path, sealed: bool) -> None:
    environ: dict[str, str] = {}
    if sealed:
        environ["HOOKBUS_SPOOL_KEY_FILE"] = str(tmp_path / "spool.key")
        hookbus("spool", "new-key", environ["HOOKBUS_SPOOL_KEY_FILE"])
    prompts = spooled(hookbus, "s", **environ)
    with ScriptedGateway() as gateway:
        pre_task(hookbus, "s", gateway.url, **environ)
    assert told(gateway) == [*prompts, "decide"]
    assert "overtakes_spooled" not in gateway.requests[-1].body["data"]


def test_what_waits_of_another_session_is_sent_after_the_answer(hookbus: Command) -> None:
    prompts = spooled(hookbus, "other")
    with ScriptedGateway() as gateway:
        pre_task(hookbus, "s", gateway.url)
        assert told(gateway)[0] == "decide"
        hookbus("spool", "flush", HOOKBUS_URL=gateway.url)
    assert told(gateway) == ["decide", *prompts]


def test_a_pre_task_that_has_to_overtake_says_so(hookbus: Command) -> None:
    """The gateway decides and cannot take events: the agent is not made to wait for that, and the log is told."""
    spooled(hookbus, "s")

    def decides_only(request: Request) -> Response | None:
        return problem(503, "unavailable") if request.path == "/api/v1/events" else None

    with ScriptedGateway(decides_only) as gateway:
        pre_task(hookbus, "s", gateway.url)
    (asked,) = [request.body for request in gateway.requests if request.path == "/api/v1/decide"]
    assert asked["data"]["overtakes_spooled"] is True
    assert hookbus.spool()["waiting_events"] == WAITING


def test_with_the_gateway_away_the_pre_task_waits_behind_them(hookbus: Command) -> None:
    prompts = spooled(hookbus, "s")
    with ScriptedGateway() as gateway:
        hookbus(
            "hook",
            "claude-code",
            stdin={"hook_event_name": "PreToolUse", "session_id": "s", "tool_name": "Bash", "tool_input": {}},
            **AWAY,
        )
        hookbus("spool", "flush", HOOKBUS_URL=gateway.url)
    assert told(gateway) == [*prompts, "pre-task"]


def test_the_library_keeps_the_order_too(hookbus: Command) -> None:
    prompts = spooled(hookbus, "s")
    with ScriptedGateway() as gateway:
        client = Client(gateway.url, "hbk_test", agent_id="a", data_dir=str(hookbus.data_dir), deadline_s=60)
        assert client.decide("Bash", {"command": "ls"}, session="s").decision == "allow"
    assert told(gateway) == [*prompts, "decide"]
