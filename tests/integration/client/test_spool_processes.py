"""Many real processes on one spool, some of them killed in the middle of a write."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from support.faults import sized
from support.hookbus_command import Command
from support.scripted_gateway import ScriptedGateway, problem

from hookbus.client.drain import status
from hookbus.client.spool import Spool

WRITER = """
import os, sys
from hookbus.client.compactjson import dumps
from hookbus.client.spool import Spool
store, name, count, size = Spool(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
for number in range(count):
    event_id = f"{name}-{number}"
    data = {"n": number, "x": "y" * size}
    store.append([dumps({"id": event_id, "kind": "notification", "agent_id": name, "data": data})])
    os.write(1, event_id.encode() + b"\\n")
"""
NOWHERE = "http://127.0.0.1:9"
KILLS = sized(40, 100)
KILLS_BETWEEN_FLUSHES = 20
HOOK_LIFE_MAX_S = 0.08
WHOLE_EACH = 5


def start_writer(folder: Any, name: str, count: Any, size: Any = 200):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), name, str(count), str(size)], stdout=subprocess.PIPE
    )


def test_many_processes_append_and_nothing_is_lost_or_mixed(hookbus: Command) -> None:
    folder = hookbus.data_dir / "spool"
    writers = [start_writer(folder, f"w{number}", 60) for number in range(8)]
    reported = {
        f"w{number}": writer.communicate(timeout=60)[0].decode().split() for number, writer in enumerate(writers)
    }
    assert all(len(names) == 60 for names in reported.values())
    with ScriptedGateway() as gateway:
        assert hookbus("spool", "flush", HOOKBUS_URL=gateway.url).exit_code == 0
    for name, ids in reported.items():
        assert [event["id"] for event in gateway.events if event["agent_id"] == name] == ids


@pytest.mark.timeout(240)
def test_whatever_was_reported_as_stored_survives_kills_in_the_middle_of_writes(hookbus: Command) -> None:
    folder = hookbus.data_dir / "spool"
    chance = random.Random(7)
    reported: list[str] = []
    sent: list[str] = []

    def flush() -> None:
        with ScriptedGateway() as gateway:
            run = hookbus("spool", "flush", "--json", HOOKBUS_URL=gateway.url)
        assert (run.exit_code, run.answer["waiting_events"]) == (0, 0)
        sent.extend(event["id"] for event in gateway.events)

    for number in range(KILLS):
        if number % KILLS_BETWEEN_FLUSHES == 0:
            flush()
        writer = start_writer(folder, f"k{number}", 100_000, size=20_000)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(chance.random() * 0.02)
        os.kill(writer.pid, signal.SIGKILL)
        lines = (first + writer.communicate()[0]).split(b"\n")
        reported += [line.decode() for line in lines[:-1]]
    flush()
    assert set(reported) <= set(sent)
    assert len(sent) == len(set(sent))


@pytest.mark.timeout(240)
def test_what_a_command_reported_as_spooled_survives_kills_at_any_moment_of_it(hookbus: Command) -> None:
    """Every fifth is left to its end, so that some are reported however slow the machine is."""
    chance = random.Random(11)
    reported: list[str] = []
    for number in range(KILLS):
        emit = hookbus.start(
            "emit", "notification", "--agent", "a", "--json", HOOKBUS_URL=NOWHERE, HOOKBUS_DEADLINE_S="0.05"
        )
        if number % WHOLE_EACH:
            time.sleep(chance.random() * HOOK_LIFE_MAX_S)
            os.kill(emit.pid, signal.SIGKILL)
        out, _ = emit.communicate(timeout=60)
        answer: dict[str, str] = json.loads(out) if out.endswith(b"\n") else {}
        reported += [answer["id"]] if answer.get("outcome") == "spooled" else []
    assert len(reported) >= KILLS // WHOLE_EACH
    with ScriptedGateway() as gateway:
        run = hookbus("spool", "flush", "--json", HOOKBUS_URL=gateway.url)
    assert (run.exit_code, run.answer["waiting_events"]) == (0, 0)
    sent = [event["id"] for event in gateway.events]
    assert set(reported) <= set(sent)
    assert len(sent) == len(set(sent)) <= KILLS


def test_a_kill_between_send_and_bookkeeping_repeats_under_the_same_ids_and_loses_nothing(hookbus: Command) -> None:
    folder = hookbus.data_dir / "spool"
    ids = start_writer(folder, "w", 350).communicate(timeout=60)[0].decode().split()
    for _ in range(3):
        arrived = threading.Event()

        def hold(_request: Any, arrived: Any = arrived):
            arrived.set()
            time.sleep(0.3)

        with ScriptedGateway(hold) as gateway:
            flush = hookbus.start("spool", "flush", HOOKBUS_URL=gateway.url)
            assert arrived.wait(20)
            os.kill(flush.pid, signal.SIGKILL)
            flush.communicate()
    with ScriptedGateway() as gateway:
        assert hookbus("spool", "flush", HOOKBUS_URL=gateway.url).exit_code == 0
    assert [event["id"] for event in gateway.events] == ids


@pytest.mark.timeout(240)
def test_hooks_of_many_processes_through_a_gateway_that_comes_and_goes(hookbus: Command) -> None:
    """Each event arrives, and each session's events arrive first in the order of its hooks."""
    switch = {"up": True}

    def script(_request: Any):
        return None if switch["up"] else problem(503, "unavailable", retry_after="9")

    def session(name: str, count: Any):
        for number in range(count):
            run = hookbus(
                *("hook", "generic", "notification"),
                stdin={"agent_id": name, "session_id": name, "n": number},
                HOOKBUS_URL=gateway.url,
                HOOKBUS_DEADLINE_S="3",
            )
            assert run.exit_code == 0, run.stderr

    with ScriptedGateway(script) as gateway:
        threads = [threading.Thread(target=session, args=(f"s{number}", 25)) for number in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.15)
            switch["up"] = not switch["up"]
        switch["up"] = True
        for thread in threads:
            thread.join()
        flush = hookbus("spool", "flush", HOOKBUS_URL=gateway.url)
        assert flush.exit_code == 0
    accepted: dict[str, dict[int, str]] = {}
    for event in gateway.events:
        accepted.setdefault(event["agent_id"], {}).setdefault(event["data"]["n"], event["id"])
    assert {name: sorted(numbers) for name, numbers in accepted.items()} == {
        f"s{number}": list(range(25)) for number in range(4)
    }
    assert status(Spool(str(hookbus.data_dir / "spool")))["waiting_events"] == 0


def test_a_full_spool_is_seen_by_the_user(hookbus: Command) -> None:
    folder = hookbus.data_dir / "spool"
    folder.mkdir(parents=True, mode=0o700)
    for number in range(1, 66):
        with (folder / f"{number:020d}.seg").open("wb") as segment:
            segment.truncate(1024 * 1024)
    run = hookbus("hook", "generic", "notification", stdin={"agent_id": "a"}, HOOKBUS_URL=NOWHERE)
    assert run.exit_code == 1
    assert "is full" in run.stderr
    assert "hookbus spool flush" in run.stderr
    assert hookbus("emit", "prompt", "--agent", "a", HOOKBUS_URL=NOWHERE).exit_code == 3
