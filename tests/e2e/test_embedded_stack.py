"""``up``, ``status``, ``down``: first start, second start, deaths, restarts."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support.fixtures import server_folder
from support.servers import StartError
from support.stack import WHOLE_AGAIN_WITHIN_S, StackFixture

from hookbus.embedded import commands
from hookbus.embedded.ports import free_port, is_port_free
from hookbus.embedded.probes import wait_until

PROCESSES = ["nats", "postgres", "traces", "session", "budget", "audit", "gateway"]
COMMAND_TIMEOUT_S = 100
ALL_AGAIN_WITHIN_S = 60


@pytest.fixture
def data() -> Generator[Path]:
    """A data folder that does not exist yet."""
    with server_folder() as folder:
        yield folder / "data"


def command(call: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """One of ``commands`` in a process of its own, as the command line runs it."""
    code = f"import sys; from pathlib import Path; from hookbus.embedded.commands import *; sys.exit({call})"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False
    )


def publish(stack: StackFixture, agent_id: str, **event: Any) -> None:
    body = {"kind": "usage", "agent_id": agent_id, "data": {"input_tokens": 10}, **event}
    answer = httpx.post(f"{stack.url}/api/v1/events", json=body, headers=stack.headers, timeout=10)
    assert answer.status_code == 202, answer.text


def test_first_start_leaves_closed_files_and_a_working_key(stack: StackFixture) -> None:
    layout = stack.layout
    for path in (layout.client_file, layout.admin_file, layout.postgres_url_file, layout.run_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    # PostgreSQL keeps its own folder closed; the checkpoints in the anchor are for everybody to read.
    elsewhere = {layout.root / "postgres", layout.root / "audit-checkpoints"}
    for path in layout.root.rglob("*"):
        if path.is_file() and elsewhere.isdisjoint(path.parents):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE(layout.root.stat().st_mode) & 0o066 == 0
    publish(stack, "first-start")
    assert json.loads(layout.admin_file.read_text())["username"] == "admin"
    admin_key = json.loads(layout.admin_file.read_text())["api_key"]
    answer = httpx.get(f"{stack.url}/api/v1/keys", headers={"Authorization": f"Bearer {admin_key}"}, timeout=10)
    assert answer.status_code == 200


def test_status_names_every_process(stack: StackFixture) -> None:
    assert stack.wait_ready()
    done = command("status(Path(sys.argv[1]), as_json=True)", str(stack.layout.root))
    assert done.returncode == 0, done.stdout
    report = json.loads(done.stdout)
    assert report["ready"]
    assert report["url"] == stack.url
    assert sorted(one["name"] for one in report["processes"]) == sorted(PROCESSES)
    assert all(one["ready"] and one["pid"] and one["uptime_s"] > 0 for one in report["processes"])
    readable = command("status(Path(sys.argv[1]))", str(stack.layout.root))
    assert all(name in readable.stdout for name in PROCESSES)


def test_a_second_start_is_refused_and_harms_nothing(stack: StackFixture) -> None:
    before = stack.pids()
    for detach in (False, True):
        done = command(f"up(Path(sys.argv[1]), port=0, detach={detach})", str(stack.layout.root))
        assert done.returncode == 1
        assert "already runs" in done.stderr
        assert str(stack.supervisor.pid) in done.stderr
        assert "Traceback" not in done.stderr
    assert stack.pids() == before
    assert stack.is_ready()


def test_a_taken_port_is_said_before_anything_starts(stack: StackFixture, tmp_path: Path) -> None:
    taken = stack.url.rpartition(":")[2]
    done = command("up(Path(sys.argv[1]), port=int(sys.argv[2]))", str(tmp_path / "data"), taken)
    assert done.returncode == 1
    assert f"port {taken}" in done.stderr
    assert "--port 0" in done.stderr
    assert not (tmp_path / "data" / "postgres").exists()


def test_no_secret_is_in_a_log_or_in_a_command_line(stack: StackFixture) -> None:
    layout = stack.layout
    secrets = [path.read_text().strip() for path in layout.secrets.rglob("*") if path.is_file()]
    secrets += [stack.api_key, stack.postgres_url]
    texts = {str(path): path.read_text(errors="replace") for path in layout.logs.iterdir()}
    texts |= {f"process {process.pid}": " ".join(process.cmdline()) for process in stack.processes()}
    for place, text in texts.items():
        assert not any(secret in text for secret in secrets), place


@pytest.mark.parametrize("name", PROCESSES)
def test_whole_again_after_kill_9(stack: StackFixture, name: str) -> None:
    assert stack.wait_ready()
    old = stack.kill(name)
    began = time.monotonic()
    assert wait_until(lambda: stack.pids().get(name) not in {None, old}, timeout_s=WHOLE_AGAIN_WITHIN_S)
    assert stack.wait_ready(WHOLE_AGAIN_WITHIN_S - (time.monotonic() - began)), stack.report()
    publish(stack, f"after-{name}")
    (dead,) = [one for one in stack.report()["processes"] if one["name"] == name]
    assert dead["restarts"] >= 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_postgres_comes_back_after_its_way_was_closed(stack: StackFixture) -> None:
    assert stack.wait_ready()
    stack.layout.root.chmod(0o700)
    old = stack.kill("postgres")
    assert wait_until(lambda: stack.pids().get("postgres") not in {None, old}, timeout_s=WHOLE_AGAIN_WITHIN_S)
    assert stack.wait_ready(), stack.report()


def test_whole_again_after_all_services_die_at_once(stack: StackFixture) -> None:
    assert stack.wait_ready()
    before = stack.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not set(before.values()) & set(stack.pids().values()), timeout_s=WHOLE_AGAIN_WITHIN_S)
    # Every process imports its code at once here: only a single death is promised to be mended within the 15 s.
    assert stack.wait_ready(ALL_AGAIN_WITHIN_S), stack.report()
    publish(stack, "after-all")


def receipt_status(stack: StackFixture, event_id: str) -> int:
    url = f"{stack.url}/api/v1/audit/receipts/{event_id}"
    return httpx.get(url, headers=stack.headers, timeout=10).status_code


def test_data_and_addresses_stay_over_a_restart(own_stack: StackFixture) -> None:
    """What was acknowledged before the stop is there after the start, under the same key and database address."""
    key, database = own_stack.api_key, own_stack.postgres_url
    publish(own_stack, "kept", id="before-stop")
    own_stack.stop()
    assert own_stack.supervisor.exit_code == 0
    assert not own_stack.report()["running"]
    own_stack.start()
    assert (own_stack.api_key, own_stack.postgres_url) == (key, database)
    publish(own_stack, "kept", id="after-start")
    for event_id in ("before-stop", "after-start"):
        assert wait_until(lambda id_=event_id: receipt_status(own_stack, id_) == 200, timeout_s=15), event_id
    status = httpx.get(f"{own_stack.url}/api/v1/budget/status/kept", headers=own_stack.headers, timeout=10).json()
    assert {Decimal(one["spent"]) for one in status["remaining"] if one["unit"] == "tokens"} == {20}, status


def test_an_event_leaves_a_trace_through_the_services(stack: StackFixture) -> None:
    assert stack.wait_ready()
    body = {"kind": "pre-task", "agent_id": "traced", "session": "s-traced", "data": {"tool": "Read", "cwd": "/tmp"}}
    answer = httpx.post(f"{stack.url}/api/v1/decide", json=body, headers=stack.headers, timeout=10)
    assert answer.status_code == 200, answer.text
    event_id = answer.json()["event_id"]

    def services() -> set[str]:
        found = httpx.get(f"{stack.url}/api/v1/traces/{event_id}", headers=stack.headers, timeout=10)
        return {span["service"] for span in found.json()["spans"]} if found.status_code == 200 else set()

    assert wait_until(lambda: services() >= {"gateway", "session", "budget", "audit"}, timeout_s=15), services()


def test_nothing_outlives_a_killed_supervisor_and_the_next_start_works(own_stack: StackFixture) -> None:
    children = own_stack.processes()
    own_stack.supervisor.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert not own_stack.report()["running"]
    own_stack.start()
    publish(own_stack, "next")


def test_detached_up_status_down(data: Path) -> None:
    port = free_port()
    done = command("up(Path(sys.argv[1]), port=int(sys.argv[2]), detach=True)", str(data), str(port))
    try:
        assert done.returncode == 0, done.stderr
        assert f"http://127.0.0.1:{port}" in done.stdout
        report = commands.status_report(data)
        assert report["ready"], report
        key = tomllib.loads((data / "client.toml").read_text())["api_key"]
        answer = httpx.get(f"{report['url']}/api/v1/keys", headers={"Authorization": f"Bearer {key}"}, timeout=10)
        assert answer.status_code == 200
        pids = [one["pid"] for one in report["processes"]]
    finally:
        down = command("down(Path(sys.argv[1]))", str(data))
    assert down.returncode == 0, down.stderr
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert is_port_free("127.0.0.1", port)
    assert command("status(Path(sys.argv[1]))", str(data)).returncode == 1
    assert command("down(Path(sys.argv[1]))", str(data)).returncode == 0


def test_a_service_with_a_bad_setting_fails_the_start_and_says_so(data: Path) -> None:
    with pytest.raises(StartError) as caught:
        StackFixture.launch(data, HOOKBUS_LOG_LEVEL="LOUD")
    assert "HOOKBUS_LOG_LEVEL" in str(caught.value)
    assert "did not become ready" in str(caught.value)


def test_production_starts_with_secrets_made_once_and_never_again(data: Path) -> None:
    """The first start makes the audit log's secrets; a start that misses one says so instead of making another."""
    stack = StackFixture.launch(data, HOOKBUS_ENV="production")
    try:
        publish(stack, "production")
    finally:
        stack.stop()
    key_file = stack.layout.audit_signing_key_file
    key_file.rename(data / "lost")
    with pytest.raises(StartError) as caught:
        stack.start()
    assert str(key_file) in str(caught.value)
    assert not key_file.exists()
