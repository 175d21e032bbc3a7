"""``Client.reserve`` and :class:`AsyncClient`: what is held is settled or given back, whatever happens in between."""

from pathlib import Path
from typing import Any

import pytest
from support.scripted_gateway import Request, Response, ScriptedGateway, decision

from hookbus.client import AsyncClient, Client, DeniedError


def options(folder: Path) -> dict[str, Any]:
    return {"agent_id": "a", "data_dir": str(folder), "deadline_s": 5.0}


def sent(gateway: ScriptedGateway) -> list[tuple[str, Any, Any]]:
    return [
        (request.body["kind"], request.body["data"].get("status"), request.body["data"].get("tokens_used"))
        for request in gateway.requests
    ]


def test_what_was_used_is_settled_under_the_same_operation(tmp_path: Path) -> None:
    with ScriptedGateway() as gateway:
        client = Client(gateway.url, "hbk_test", **options(tmp_path))
        with client.reserve("Bash", {"command": "ls"}, session="s", estimated_tokens=500) as held:
            held.settle(tokens_used=1)
            held.settle(tokens_used=420, cost="0.01")
    assert sent(gateway) == [("pre-task", None, None), ("post-task", "completed", 420)]
    before, after = (request.body for request in gateway.requests)
    assert before["data"]["operation_id"] == after["data"]["operation_id"] == held.operation_id
    assert (after["session"], after["data"]["cost"]) == ("s", "0.01")


def test_a_failure_gives_the_hold_back_and_goes_on(tmp_path: Path) -> None:
    with ScriptedGateway() as gateway:
        client = Client(gateway.url, "hbk_test", **options(tmp_path))
        with pytest.raises(RuntimeError, match="planted"), client.reserve("Bash"):
            raise RuntimeError("planted")
    assert sent(gateway) == [("pre-task", None, None), ("post-task", "failed", None)]


def test_a_denial_is_no_reservation(tmp_path: Path) -> None:
    def deny(request: Request) -> Response:
        return Response(200, decision(request.body["id"], "deny", "spent", "cost_exhausted"))

    with ScriptedGateway(deny) as gateway:
        client = Client(gateway.url, "hbk_test", **options(tmp_path))
        with pytest.raises(DeniedError) as caught, client.reserve("Bash"):
            raise AssertionError("it must not run")
    assert caught.value.decision.code == "cost_exhausted"
    assert len(gateway.requests) == 1


async def test_the_same_calls_awaited(tmp_path: Path) -> None:
    with ScriptedGateway() as gateway:
        client = AsyncClient(gateway.url, "hbk_test", **options(tmp_path))
        assert (await client.decide("Bash", {"command": "ls"})).decision == "allow"
        published = await client.publish("prompt", {"prompt": "x", "object": {1, 2}})
        assert not published.spooled
        async with client.reserve("Bash") as held:
            held.settle(tokens_used=7)
        with pytest.raises(RuntimeError, match="planted"):
            async with client.reserve("Bash"):
                raise RuntimeError("planted")
    assert [entry[0] for entry in sent(gateway)] == ["pre-task", "prompt", *["pre-task", "post-task"] * 2]
    assert sent(gateway)[3] == ("post-task", "completed", 7)
    assert gateway.requests[1].body["data"]["object"] == [1, 2]


async def test_a_denial_awaited(tmp_path: Path) -> None:
    def ask(request: Request) -> Response:
        return Response(200, decision(request.body["id"], "ask", "who", "session_risk"))

    with ScriptedGateway(ask) as gateway:
        client = AsyncClient(gateway.url, "hbk_test", **options(tmp_path))
        with pytest.raises(DeniedError):
            async with client.reserve("Bash"):
                raise AssertionError("it must not run")
