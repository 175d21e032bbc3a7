"""``from hookbus.client import Client``."""

import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest
from support.scripted_gateway import Response, ScriptedGateway, decision, problem

import hookbus.client
from hookbus.client import Client, ClientError
from hookbus.client.drain import status
from hookbus.client.spool import Spool

NOWHERE = "http://127.0.0.1:9"


class Connect(Protocol):
    """Makes a client with the test's data folder."""

    def __call__(self, url: str, *, fail_closed: bool | None = None, deadline_s: float = 0.3) -> Client: ...


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    def make(url: str, *, fail_closed: bool | None = None, deadline_s: float = 0.3) -> Client:
        return Client(
            url, "hbk_test", agent_id="a", data_dir=str(tmp_path), fail_closed=fail_closed, deadline_s=deadline_s
        )

    return make


def test_publish(connect: Connect) -> None:
    with ScriptedGateway() as gateway:
        done = connect(gateway.url, deadline_s=5).publish("usage", {"tokens_used": 5}, session="s", project="p")
    assert (done.spooled, done.sequence, done.problem) == (False, 1, None)
    assert gateway.events[0]["id"] == done.id
    assert (gateway.events[0]["session"], gateway.events[0]["project"]) == ("s", "p")


def test_publish_is_spooled_and_sent_with_the_next(connect: Connect, tmp_path: Path) -> None:
    first = connect(NOWHERE).publish("prompt", {"prompt": "x"})
    assert first.spooled
    assert first.problem is not None
    with ScriptedGateway() as gateway:
        second = connect(gateway.url, deadline_s=5).publish("prompt")
    assert [event["id"] for event in gateway.events] == [first.id, second.id]
    assert (second.spooled, second.sequence) == (False, 1)
    assert status(Spool(str(tmp_path / "spool")))["waiting_events"] == 0


def test_decide(connect: Connect) -> None:
    with ScriptedGateway(
        lambda request: Response(200, decision(request.body["id"], "deny", "why", "session_risk"))
    ) as gateway:
        answer = connect(gateway.url, deadline_s=5).decide("Bash", {"command": "ls"}, operation_id="o", cwd="/w")
    assert (answer.decision, answer.reason, answer.code, answer.degraded) == ("deny", "why", "session_risk", False)
    assert answer.body["event_id"] == gateway.requests[0].body["id"]
    assert gateway.requests[0].body["data"] == {
        "cwd": "/w",
        "tool": "Bash",
        "tool_input": {"command": "ls"},
        "operation_id": "o",
    }


@pytest.mark.parametrize(("closed", "verdict"), [(True, "deny"), (False, "allow")])
def test_decide_degraded(connect: Connect, tmp_path: Path, closed: bool, verdict: str) -> None:
    answer = connect(NOWHERE, fail_closed=closed).decide("Bash")
    assert (answer.decision, answer.code, answer.degraded) == (verdict, "degraded", True)
    assert status(Spool(str(tmp_path / "spool")))["waiting_events"] == 1


def test_a_refused_event_raises(connect: Connect) -> None:
    with ScriptedGateway(lambda _: problem(422, "body_invalid", "no such kind")) as gateway:
        with pytest.raises(ClientError, match="no such kind"):
            connect(gateway.url, deadline_s=5).publish("prompt")
        with pytest.raises(ClientError, match="no such kind"):
            connect(gateway.url, deadline_s=5).decide("Bash")


def test_settings_that_are_not_usable_raise(connect: Connect) -> None:
    with pytest.raises(ClientError):
        connect("nowhere")
    with pytest.raises(ClientError):
        connect(NOWHERE, deadline_s=-1)


def test_arguments_that_are_not_legal_raise(connect: Connect) -> None:
    client = connect(NOWHERE)
    with pytest.raises(ClientError):
        client.publish("moon-phase")
    with pytest.raises(ClientError):
        client.publish("prompt", agent_id="a\n")
    with pytest.raises(ClientError):
        client.publish("prompt", event_id="a b")


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import hookbus.client; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout.decode().split() == ["hookbus", "hookbus.client"]
    with pytest.raises(AttributeError):
        _ = hookbus.client.nothing


def test_tags_become_attributes_and_what_is_said_outright_goes_before_them(connect: Connect) -> None:
    tags = {"agent": {"category": "Testing"}, "intent": "bugfix", "project": "tagged"}
    with ScriptedGateway() as gateway:
        client = connect(gateway.url, deadline_s=5)
        client.publish("notification", {"intent": "not a tag"}, tags=tags)
        client.publish("notification", tags=tags, project="said")
    first, second = gateway.events
    assert (first["agent_category"], first["intent"], first["project"]) == ("testing", "bugfix", "tagged")
    assert (second["project"], first["data"]) == ("said", {"intent": "not a tag"})
