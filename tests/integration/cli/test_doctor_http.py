"""``hookbus doctor`` on an installation over HTTP: each hook is tried at its own address, as Claude Code sends it."""

import json
import socket
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.scripted_gateway import Request, Response, ScriptedGateway, problem

from hookbus.cli.doctor.command import examine
from hookbus.cli.doctor.findings import Finding
from hookbus.cli.install import agents
from hookbus.cli.install.agents import Mode, Options, Scope
from hookbus.client.settings import Settings

AWAY = "http://127.0.0.1:9"
PATH = "/api/v1/hooks/claude-code?agent_id=mine"
GUARD, HOOKS = "claude-code guard", "claude-code hooks"


def objection(reason: str, code: str, verdict: str = "deny") -> Response:
    words = f"hookbus: {reason} [{code}]"
    specific = {"hookEventName": "PreToolUse", "permissionDecision": verdict, "permissionDecisionReason": words}
    return Response(200, {"hookSpecificOutput": specific})


def judge(request: Request) -> Response | None:
    """What a healthy gateway says."""
    if request.path == PATH and "rm -rf /" in json.dumps(request.body):
        return objection("it would wipe the file system", "command_refused")
    return Response(200, {})


@dataclass
class Patient:
    """An installation, and what is wrong with it."""

    home: Path
    gateway: ScriptedGateway
    monkeypatch: pytest.MonkeyPatch

    @property
    def settings(self) -> Path:
        return agents.settings_path("claude-code", Scope.USER, home=self.home, project=self.home)

    def edit(self, **more: Any) -> None:
        """Change the PreToolUse handler."""
        settings = json.loads(self.settings.read_text(encoding="utf-8"))
        settings["hooks"]["PreToolUse"][0]["hooks"][0].update(more)
        self.settings.write_text(json.dumps(settings), encoding="utf-8")

    def say(self, name: str, **more: Any) -> None:
        """Add to a settings file of the same folder."""
        path = self.settings.with_name(name)
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        path.write_text(json.dumps({**settings, **more}), encoding="utf-8")

    def findings(self) -> list[Finding]:
        environ = {"HOOKBUS_URL": self.gateway.url, "HOOKBUS_API_KEY": "hbk_x", "HOOKBUS_DATA_DIR": f"{self.home}/data"}
        return examine(Settings(environ), self.home, self.home, None)


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Patient]:
    monkeypatch.setenv("HOOKBUS_API_KEY", "hbk_x")
    with ScriptedGateway(judge) as gateway:
        made = Patient(tmp_path, gateway, monkeypatch)
        options = Options("/bin/true", gateway.url, mode=Mode.HTTP, agent_id="mine")
        hooks = {event: [entry] for event, entry in agents.entries("claude-code", options).items()}
        made.settings.parent.mkdir()
        made.settings.write_text(json.dumps({"hooks": hooks}), encoding="utf-8")
        yield made


def test_a_working_installation_is_green_and_was_asked_as_the_agent_asks(patient: Patient) -> None:
    found = patient.findings()
    assert [one for one in found if not one.ok] == []
    assert [one.detail for one in found if one.check == GUARD][1] == "`rm -rf /` is denied"
    tried = [one for one in patient.gateway.requests if one.path == PATH]
    assert [one.body["tool_input"]["command"] for one in tried] == ["true", "rm -rf /"]
    assert {one.headers["authorization"] for one in tried} == {"Bearer hbk_x"}
    assert {one.headers["content-type"] for one in tried} == {"application/json"}


def test_each_run_has_a_session_of_its_own(patient: Patient) -> None:
    for _ in range(2):
        patient.findings()
    sessions = [one.body["session_id"] for one in patient.gateway.requests if one.path == PATH]
    assert len(sessions) == 4
    assert len(set(sessions)) == 2


def answers(response: Response) -> Callable[[Patient], None]:
    def script(request: Request) -> Response | None:
        return response if request.path == PATH else judge(request)

    def plant(patient: Patient) -> None:
        patient.gateway.script = script

    return plant


def denies_harmless(patient: Patient) -> None:
    """The guard objects before the budget is asked."""

    def script(request: Request) -> Response | None:
        harmless = request.path == PATH and "rm -rf /" not in json.dumps(request.body)
        return objection("spent", "cost_exhausted") if harmless else judge(request)

    patient.gateway.script = script


def handler(**more: Any) -> Callable[[Patient], None]:
    return lambda patient: patient.edit(**more)


def says(name: str, **more: Any) -> Callable[[Patient], None]:
    return lambda patient: patient.say(name, **more)


def key_elsewhere(patient: Patient) -> None:
    """The settings know it from client.toml, which an agent that sends HTTP hooks does not read."""
    patient.monkeypatch.delenv("HOOKBUS_API_KEY")


FAULTS: dict[str, tuple[Callable[[Patient], None], str, list[str]]] = {
    "nobody there": (handler(url=f"{AWAY}{PATH}"), GUARD, ["127.0.0.1:9 does not answer"]),
    "no address": (handler(url=f"http://[{PATH}"), GUARD, ["cannot be sent"]),
    "unusual address": (handler(url=f"http://127.0.0.1:9{PATH}&x= é"), GUARD, ["unusual characters"]),
    "unusual header": (handler(headers={"x": "\u20ac"}), GUARD, ["a header holds unusual"]),
    "bad key": (answers(problem(401, "unauthenticated")), GUARD, ["answers its HTTP hooks 401"]),
    "part of it away": (answers(problem(503, "unavailable")), GUARD, ["503, which the agent takes for no objection"]),
    "nothing is denied": (answers(Response(200, {})), GUARD, ["`rm -rf /` is not denied: no objection"]),
    "no JSON object": (answers(Response(200, ["deny"])), GUARD, ["not a JSON object"]),
    "it denies all": (
        answers(objection("killed", "session_terminated")),
        GUARD,
        ["(`true`) is denied: hookbus: killed [session_terminated]", "is denied, but not for what it is"],
    ),
    "it denies the harmless": (denies_harmless, GUARD, ["(`true`) is denied: hookbus: spent [cost_exhausted]"]),
    "no key": (key_elsewhere, GUARD, ["HOOKBUS_API_KEY is not set here"]),
    "key not allowed": (handler(allowedEnvVars=[]), GUARD, ["not allowed to read it"]),
    "all hooks off": (says("settings.json", disableAllHooks=True), HOOKS, ["settings.json says disableAllHooks"]),
    "off here": (says("settings.local.json", disableAllHooks=True), HOOKS, ["settings.local.json says"]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_goes_red_and_says_what_to_do(patient: Patient, name: str) -> None:
    plant, check, said = FAULTS[name]
    plant(patient)
    red = [one for one in patient.findings() if not one.ok]
    assert [one.check for one in red] == [check] * len(said)
    for one, expected in zip(red, said, strict=True):
        assert expected in one.detail
        assert one.remedy


def test_an_answer_that_the_agent_does_not_wait_for_is_none(patient: Patient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        patient.edit(timeout=0.2, url=f"http://127.0.0.1:{silent.getsockname()[1]}{PATH}")
        (red,) = [one for one in patient.findings() if one.check == GUARD]
    assert not red.ok
    assert "no answer within the deadline; the agent goes on unguarded" in red.detail


def test_what_is_switched_off_for_another_agent_alone_is_no_fault(patient: Patient) -> None:
    patient.settings.write_text(json.dumps({"disableAllHooks": True}), encoding="utf-8")
    red = [one.check for one in patient.findings() if not one.ok]
    assert red == ["installed"]
