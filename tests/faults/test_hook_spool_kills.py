"""``hookbus hook`` itself, killed at any moment of its spooling and replaying: what it said it kept is logged once."""

import asyncio
import json
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.commands import HOOKBUS
from support.faults import sized
from support.stack import StackFixture
from support.waiting import eventually

KILLS = sized(16, 100)
ATTEMPTS_MAX = 10 * KILLS
WHOLE_EACH = 5
"""Every fifth is left to its end, so that some are reported however slow the machine is."""
NOWHERE = "http://127.0.0.1:9"
AGENT = "killed-hooks"
SESSION = "killed-session"
HOOK_TIMEOUT_S = 60
LOOK_EVERY_S = 0.0005
LOGGED_WAIT_S = 60.0
TEST_TIMEOUT_S = 300

pytestmark = [pytest.mark.faults, pytest.mark.timeout(TEST_TIMEOUT_S)]


@dataclass
class Hooks:
    """Hooks of one session, one after the other, each with its number, some of them killed."""

    environment: dict[str, str]
    spool: Path
    life_s: float = 0.0
    started: int = 0
    kills: int = 0
    reported: list[int] = field(default_factory=list[int])
    """The numbers of those whose own words said that they were accepted or kept in the spool."""

    def run(self, chance: random.Random | None) -> None:
        """One hook; with ``chance`` it is killed, at any moment or as soon as the spool is seen to change."""
        number, self.started = self.started, self.started + 1
        decided = number % 2 == 0
        payload: dict[str, Any] = {"session_id": SESSION, "number": number, "hook_event_name": "Notification"}
        if decided:
            payload |= {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "ls"}}
        before = self.bytes()
        process = subprocess.Popen(
            [HOOKBUS, "hook", "claude-code"],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(payload).encode())
        process.stdin.close()
        process.stdin = None
        if chance is not None:
            self.wait_for_a_moment(process, chance, before)
            process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=HOOK_TIMEOUT_S)
        self.kills += process.returncode == -signal.SIGKILL
        kept = b"(kept in the spool)" in err or (b"degraded" in out and b"NOT RECORDED" not in err)
        if (process.returncode == 0 and b"NOT RECORDED" not in err) or kept:
            self.reported.append(number)

    def wait_for_a_moment(self, process: subprocess.Popen[bytes], chance: random.Random, before: int) -> None:
        if chance.random() < 0.5:
            time.sleep(chance.random() * self.life_s)
            return
        while process.poll() is None and self.bytes() == before:
            time.sleep(LOOK_EVERY_S)

    def bytes(self) -> int:
        """What the spool's segments hold."""
        total = 0
        for segment in self.spool.glob("*.seg"):
            try:
                total += segment.stat().st_size
            except FileNotFoundError:
                continue  # replayed just now
        return total

    def measure(self) -> None:
        """One hook to its end: how long it lives here, and now. One that replays what waits lives longer."""
        begin_s = time.monotonic()
        self.run(None)
        self.life_s = time.monotonic() - begin_s

    def kill_until(self, kills: int, chance: random.Random) -> None:
        """Run hooks until that many of them were killed before their end."""
        until = self.kills + kills
        for attempt in range(ATTEMPTS_MAX):
            if self.kills >= until:
                return
            if attempt % WHOLE_EACH == 0:
                self.measure()
            else:
                self.run(chance)
        pytest.fail(f"only {self.kills} of {until} hooks were killed in time")


async def logged(stack: StackFixture) -> list[tuple[str, int]]:
    """Id and number of each event of the agent, in the order of the audit log."""
    found: list[tuple[str, int]] = []
    query: dict[str, str] = {"agent": AGENT, "limit": "1000"}
    async with httpx.AsyncClient(headers=stack.headers, base_url=stack.url, timeout=30) as client:
        while True:
            response = await client.get("/api/v1/audit/entries", params=query)
            assert response.status_code == 200, response.text
            page = response.json()
            for entry in page["entries"]:
                data = entry["event"]["data"]
                if "number" in data:
                    found.append((entry["event"]["id"], data["number"]))
            if not page.get("next_cursor"):
                return found
            query["cursor"] = page["next_cursor"]


async def test_hooks_killed_while_they_spool_and_while_they_replay(own_stack: StackFixture, tmp_path: Path) -> None:
    """Half of the kills without a gateway, half with one that takes what waits."""
    stack = own_stack
    data_dir = tmp_path / "client"
    environment = {
        **stack.environment,
        "HOOKBUS_DATA_DIR": str(data_dir),
        "HOOKBUS_API_KEY": stack.api_key,
        "HOOKBUS_AGENT_ID": AGENT,
        "HOOKBUS_URL": NOWHERE,
        "HOOKBUS_DEADLINE_S": "0.5",
    }
    hooks = Hooks(environment, data_dir / "spool")
    chance = random.Random(17)
    await asyncio.to_thread(hooks.kill_until, KILLS // 2, chance)
    kept = len(hooks.reported)
    assert kept >= KILLS // 2 // WHOLE_EACH
    hooks.environment = {**environment, "HOOKBUS_URL": stack.url, "HOOKBUS_DEADLINE_S": "5"}
    await asyncio.to_thread(hooks.kill_until, KILLS - KILLS // 2, chance)
    flushed = await asyncio.to_thread(
        subprocess.run, [HOOKBUS, "spool", "flush", "--json"], env=hooks.environment, capture_output=True, check=False
    )
    assert (flushed.returncode, json.loads(flushed.stdout)["waiting_events"]) == (0, 0), flushed.stderr

    async def all_there() -> bool:
        return set(hooks.reported) <= {number for _, number in await logged(stack)}

    await eventually(all_there, LOGGED_WAIT_S)
    found = await logged(stack)
    assert len({name for name, _ in found}) == len(found)
    assert {number for _, number in found} <= set(range(hooks.started))
    print(  # noqa: T201 - what a reader of the run wants to know
        f"{hooks.started} hooks, {hooks.kills} killed, {len(hooks.reported)} reported ({kept} without a gateway), "
        f"{len(found)} in the log"
    )
