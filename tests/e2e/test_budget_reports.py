"""What the budget shows and exports, through the command line on the whole stack."""

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from support.events import unique
from support.stack import StackFixture

COMMAND = str(Path(sys.executable).parent / "hookbus")
TIMEOUT_S = 60


def hookbus(stack: StackFixture, *arguments: str) -> str:
    done = subprocess.run(
        [COMMAND, *arguments],
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(stack: StackFixture, *arguments: str) -> Any:
    return json.loads(hookbus(stack, *arguments, "--json"))


def test_export_projects_drift_and_extend(stack: StackFixture) -> None:
    agent, project, team = unique("agent"), unique("project"), unique("team")
    answer(stack, "budget", "init", agent, "--limit", "usd:month:50", "--project", project, "--team", team)
    model = ("--model", "claude-sonnet-4-5", "--input-tokens", "1000")
    for key in ("one", "two"):
        answer(stack, "budget", "deduct", agent, *model, "--cost", "0.004", "--key", key)

    rows = [json.loads(line) for line in hookbus(stack, "budget", "export", agent, "--format", "jsonl").splitlines()]
    assert [row["operation"] for row in rows] == ["charge", "charge", "limits"]
    table = list(csv.DictReader(io.StringIO(hookbus(stack, "budget", "export", agent, "--format", "csv"))))
    assert [row["id"] for row in table] == [str(row["id"]) for row in rows]
    assert [row["usd"] for row in table] == ["0.004000", "0.004000", "0.000000"]

    listed = {each["name"]: each for each in answer(stack, "budget", "projects")["projects"]}
    assert (listed[project]["team"], listed[project]["agents"]) == (team, 1)
    (drift,) = answer(stack, "budget", "drift", "--agent", agent)["rows"]
    assert (drift["reports"], drift["difference_usd"]) == (2, "0.002000")
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert answer(stack, "budget", "drift", "--agent", agent, "--since", later)["rows"] == []
    for command in ("projects", "drift"):
        assert hookbus(stack, "budget", command).strip()

    held = answer(stack, "budget", "check", agent, "--cost", "0.01", "--reserve", "--ttl", "5")["reservation"]
    until = datetime.fromisoformat(answer(stack, "budget", "extend", agent, held, "--ttl", "600")["expires_at"])
    assert until > datetime.now(UTC) + timedelta(seconds=500)


def test_a_limit_on_a_session_or_a_subagent_is_set_shown_and_reset_by_name(stack: StackFixture) -> None:
    """In commands by slashes, in addresses by tildes; both are answers, and neither starts a subagent."""
    agent = unique("agent")
    session, subagent = f"{agent}/s.1", f"{agent}/s.1/code review"
    for scope, name in (("session", session), ("subagent", subagent)):
        (left,) = answer(stack, "budget", "init", name, "--scope", scope, "--limit", "tokens:total:5")["remaining"]
        assert (left["scope"], left["name"], left["amount"]) == (scope, name, "5")
    with httpx.Client(base_url=stack.url, headers=stack.headers) as client:
        body = {"agent_id": agent, "session": "s.1", "subagent": "code review", "estimated_tokens": 6}
        denied = client.post("/api/v1/budget/check", json=body).json()
        assert (denied["allowed"], denied["code"]) == (False, "tokens_exhausted")
        assert f"subagent {subagent}: 5 tokens of 5 tokens left in total" in denied["reason"]
        shown = client.get(f"/api/v1/budget/scopes/subagent/{agent}~s.1~code review").json()
        assert (shown["name"], shown["agent_id"]) == (subagent, agent)
        rows = client.get(f"/api/v1/budget/scopes/session/{agent}~s.1/history").json()["entries"]
        assert [row["operation"] for row in rows] == ["limits"]
        for bad in (f"session/{agent}", f"session/{agent}~", f"subagent/{agent}~s.1", "session/a b~s"):
            assert client.get(f"/api/v1/budget/scopes/{bad}").status_code == 422, bad
        assert client.get(f"/api/v1/budget/scopes/session/{agent}~other").status_code == 404
    answer(stack, "budget", "reset", session, "--scope", "session")
    assert session in [each["name"] for each in answer(stack, "budget", "list", "--scope", "session")["accounts"]]


def test_raising_one_limit_keeps_the_others_until_they_are_taken_away(stack: StackFixture) -> None:
    agent = unique("agent")

    def limits(*arguments: str) -> dict[str, str]:
        reply = answer(stack, "budget", "init", agent, *arguments)
        return {f"{each['unit']}:{each['window']}": each["amount"] for each in reply["remaining"]}

    assert limits() == {"tokens:hour": "100000", "tokens:day": "500000", "usd:operation": "0.100000"}
    kept = {"tokens:day": "500000", "usd:operation": "0.100000"}
    assert limits("--tokens-per-hour", "200000") == kept | {"tokens:hour": "200000"}
    assert limits("--remove", "tokens:hour") == kept
    assert limits("--replace", "--limit", "usd:month:9") == {"usd:month": "9.000000"}


def test_amounts_and_names_that_are_wrong_are_refused_by_name(stack: StackFixture) -> None:
    agent = unique("agent")
    answer(stack, "budget", "init", agent)
    good: dict[str, Any] = {"agent_id": agent, "tokens_used": 1, "cost": "0.1"}
    bad: list[tuple[dict[str, Any], int]] = [
        ({"cost": "-0.1"}, 422),
        ({"cost": "NaN"}, 422),
        ({"cost": "Infinity"}, 422),
        ({"cost": "100.000001"}, 422),
        ({"cost": "0.0000001"}, 422),
        ({"cost": "1e400"}, 422),
        ({"tokens_used": -1}, 422),
        ({"tokens_used": 10_000_001}, 422),
        ({"tokens_used": 10**18}, 422),
        ({"tokens_used": 1.5}, 422),
        ({"agent_id": "agent\n"}, 422),
        ({"agent_id": unique("nobody")}, 404),
        ({"reservation": "no-such"}, 404),
        ({"tokens_used": None, "cost": None}, 422),
    ]
    with httpx.Client(base_url=stack.url, headers=stack.headers) as client:
        for number, (change, status) in enumerate(bad):
            body = good | change | {"idempotency_key": f"k{number}"}
            reply = client.post("/api/v1/budget/deduct", json=body)
            assert reply.status_code == status, (change, reply.text)
            assert reply.headers["content-type"] == "application/problem+json"
        shown = client.get(f"/api/v1/budget/status/{agent}").json()
        assert {each["spent"] for each in shown["remaining"]} <= {"0", "0.000000"}
