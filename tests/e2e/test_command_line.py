"""The commands as people run them, on the whole stack: each as a process of its own."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.events import unique
from support.stack import StackFixture

COMMAND = str(Path(sys.executable).parent / "hookbus")
TIMEOUT_S = 60
SETTLE_S = 10.0
START_S = 3.0


def hookbus(stack: StackFixture, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env={**stack.environment, **settings},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def answer(stack: StackFixture, *arguments: str) -> Any:
    done = hookbus(stack, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def settled(stack: StackFixture, *arguments: str) -> Any:
    """The answer of a command once it succeeds: what was just sent is on its way."""
    async with asyncio.timeout(SETTLE_S):
        while (done := hookbus(stack, *arguments, "--json")).returncode != 0:
            await asyncio.sleep(0.1)
    return json.loads(done.stdout)


def test_budgets(stack: StackFixture) -> None:
    """Limits set, a check within them, a charge once, a check beyond them, a reset."""
    agent = unique("cli")
    answer(stack, "budget", "init", agent, "--tokens-per-hour", "1000", "--limit", "usd:day:2.50")
    assert answer(stack, "budget", "check", agent, "--tokens", "900", "--cost", "0.01")["allowed"]
    deduct = ("budget", "deduct", agent, "--tokens", "600", "--cost", "0.25", "--key", unique("k"))
    assert not answer(stack, *deduct)["duplicate"]
    assert answer(stack, *deduct)["duplicate"]
    refused = hookbus(stack, "budget", "check", agent, "--tokens", "500", "--cost", "0.01", "--json")
    assert refused.returncode == 1
    assert json.loads(refused.stdout)["code"] == "tokens_exhausted"
    spent = {one["window"]: Decimal(one["spent"]) for one in answer(stack, "budget", "status", agent)["remaining"]}
    assert spent == {"hour": Decimal(600), "day": Decimal("0.25")}
    assert agent in {one["name"] for one in answer(stack, "budget", "list", "--limit", "1000")["accounts"]}
    assert answer(stack, "budget", "history", agent)["entries"]
    answer(stack, "budget", "reset", agent)
    assert answer(stack, "budget", "check", agent, "--tokens", "900", "--cost", "0.01")["allowed"]
    shown = hookbus(stack, "budget", "status", agent)
    assert "tokens / hour" in shown.stdout
    assert hookbus(stack, "budget", "status", unique("nobody")).returncode == 1


def test_scopes(stack: StackFixture) -> None:
    project = unique("project")
    answer(stack, "budget", "init", project, "--scope", "project", "--limit", "tokens:day:5000")
    status = answer(stack, "budget", "status", project, "--scope", "project")
    assert [one["window"] for one in status["remaining"]] == ["day"]
    answer(stack, "budget", "reset", project, "--scope", "project")
    answer(stack, "budget", "history", project, "--scope", "project")


async def test_a_session_is_killed_and_revived(stack: StackFixture) -> None:
    session = unique("s")
    emitted = hookbus(stack, "emit", "prompt", "--agent", "cli-agent", "--session", session)
    assert emitted.returncode == 0, emitted.stderr
    assert (await settled(stack, "session", "show", session))["state"] == "active"
    assert answer(stack, "session", "kill", session, "--reason", "enough")["kill_reason"] == "enough"
    for state, there in (("killed", True), ("active", False)):
        listed = answer(stack, "session", "list", "--state", state, "--agent", "cli-agent")
        assert (session in {one["id"] for one in listed["sessions"]}) is there
    assert answer(stack, "session", "revive", session)["state"] == "active"
    shown = hookbus(stack, "session", "show", session)
    assert "Nothing stands against this session." in shown.stdout
    assert hookbus(stack, "session", "kill", unique("nobody")).returncode == 1


def test_a_key_does_what_its_scope_says_until_it_is_revoked(stack: StackFixture) -> None:
    made = answer(stack, "key", "create", "cli-test", "--scope", "session", "--days", "1")
    key, key_id = made["api_key"], made["key"]["key_id"]
    assert hookbus(stack, "session", "list", HOOKBUS_API_KEY=key).returncode == 0
    forbidden = hookbus(stack, "key", "list", HOOKBUS_API_KEY=key)
    assert forbidden.returncode == 1
    assert "scope" in forbidden.stderr
    assert key_id in {one["key_id"] for one in answer(stack, "key", "list")["keys"]}
    assert answer(stack, "key", "revoke", key_id)["revoked_at"]
    # A process takes longer to start than a gateway may remember the key, but not on every machine.
    deadline = 20
    while hookbus(stack, "session", "list", HOOKBUS_API_KEY=key).returncode == 0 and deadline:
        deadline -= 1
    refused = hookbus(stack, "session", "list", HOOKBUS_API_KEY=key)
    assert refused.returncode == 1
    assert key not in refused.stderr


async def test_the_audit_log_is_read_taken_away_and_checked(stack: StackFixture, tmp_path: Path) -> None:
    event_id = unique("e")
    sent = ("emit", "prompt", "--agent", "cli-audit", "--session", unique("s"), "--id", event_id)
    assert hookbus(stack, *sent).returncode == 0
    receipt = await settled(stack, "audit", "prove", event_id)
    assert receipt["proven"]
    assert answer(stack, "audit", "verify")["ok"]
    assert answer(stack, "audit", "checkpoint")["size"] > receipt["index"]
    found = hookbus(stack, "audit", "search", "--agent", "cli-audit", "--json")
    assert event_id in found.stdout
    tail = hookbus(stack, "audit", "tail", "-n", "3", "--json")
    assert len(tail.stdout.splitlines()) == 3
    exported = tmp_path / "log.jsonl"
    answer(stack, "audit", "export", "--output", str(exported))
    indexes = [json.loads(line)["index"] for line in exported.read_text().splitlines()]
    assert indexes == list(range(len(indexes)))
    assert receipt["index"] in indexes


async def test_an_event_is_traced(stack: StackFixture) -> None:
    event_id = unique("e")
    sent = ("emit", "prompt", "--agent", "cli-trace", "--session", unique("s"), "--id", event_id)
    assert hookbus(stack, *sent).returncode == 0
    async with asyncio.timeout(SETTLE_S):
        # Each service exports its spans when it is ready to: the gateway's may come last.
        while not any(one["service"] == "gateway" for one in (await settled(stack, "trace", event_id))["spans"]):
            await asyncio.sleep(0.1)
    assert "gateway" in hookbus(stack, "trace", event_id).stdout


def test_status_says_that_all_is_ready(stack: StackFixture) -> None:
    assert answer(stack, "status")["ready"]


def demo_environment(folder: Path) -> dict[str, str]:
    return {"PATH": str(Path(COMMAND).parent), "HOME": str(folder), "TMPDIR": str(folder)}


def left_of(folder: Path) -> list[str]:
    """Files and processes that still name the folder."""
    processes = psutil.process_iter(["cmdline"])
    commands = [" ".join(process.info["cmdline"] or ()) for process in processes]
    return [str(path) for path in folder.iterdir()] + [command for command in commands if str(folder) in command]


@pytest.mark.timeout(180)
def test_the_demo_keeps_its_promises_and_leaves_nothing(tmp_path: Path) -> None:
    """Exit code 0 means that each decision was really seen; afterwards no process and no folder of it is left."""
    done = subprocess.run(
        [COMMAND, "demo"], env=demo_environment(tmp_path), capture_output=True, text=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  NO   " not in done.stdout
    assert left_of(tmp_path) == []


@pytest.mark.timeout(180)
@pytest.mark.parametrize("wait_for", ["start", "story"])
def test_a_demo_that_is_told_to_end_leaves_nothing(tmp_path: Path, wait_for: str) -> None:
    """SIGTERM while the stack still starts, and in the middle of the session."""
    with subprocess.Popen(
        [COMMAND, "demo"], env=demo_environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        if wait_for == "story":
            running.stdout.readline()
        else:
            time.sleep(START_S)
        running.terminate()
        running.communicate(timeout=100)
    assert running.returncode == 128 + signal.SIGTERM
    assert left_of(tmp_path) == []
