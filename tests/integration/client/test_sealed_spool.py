"""Hooks whose events wait under a key, by the real command."""

import json
from pathlib import Path

import pytest
from support.hookbus_command import Command
from support.scripted_gateway import ScriptedGateway, problem

SECRET = "the launch code is 8127"
AWAY = {"HOOKBUS_URL": "http://127.0.0.1:9", "HOOKBUS_DEADLINE_S": "0.2"}


@pytest.fixture
def key(hookbus: Command, tmp_path: Path) -> str:
    return new_key(hookbus, tmp_path / "one.key")


def new_key(hookbus: Command, path: Path) -> str:
    made = hookbus("spool", "new-key", str(path))
    assert (made.exit_code, made.stdout.strip()) == (0, str(path))
    return str(path)


def record(hookbus: Command, **environ: str):
    payload = {"agent_id": "a", "session_id": "s", "prompt": SECRET}
    return hookbus("hook", "generic", "prompt", stdin=payload, **{**AWAY, **environ})


def on_disk(hookbus: Command) -> bytes:
    return b"".join(path.read_bytes() for path in hookbus.data_dir.rglob("*") if path.is_file())


def test_what_waits_is_unreadable_and_arrives_whole(hookbus: Command, key: str) -> None:
    environ = {"HOOKBUS_SPOOL_KEY_FILE": key}
    assert record(hookbus, **environ).exit_code == 0
    decided = {
        "hook_event_name": "PreToolUse",
        "session_id": "s",
        "tool_name": "Bash",
        "tool_input": {"command": SECRET},
    }
    assert hookbus("hook", "claude-code", stdin=decided, **AWAY, **environ).exit_code == 0
    assert SECRET.encode() not in on_disk(hookbus)
    assert hookbus.spool()["waiting_events"] == 2
    with ScriptedGateway() as gateway:
        flush = hookbus("spool", "flush", HOOKBUS_URL=gateway.url, **environ)
    assert (flush.exit_code, len(gateway.events)) == (0, 2)
    assert gateway.events[0]["data"]["prompt"] == gateway.events[1]["data"]["tool_input"]["command"] == SECRET


def test_the_key_may_stand_in_the_client_file(hookbus: Command, key: str) -> None:
    (hookbus.data_dir / "client.toml").parent.mkdir(exist_ok=True)
    (hookbus.data_dir / "client.toml").write_text(f'spool_key_file = "{key}"\n')
    record(hookbus)
    assert SECRET.encode() not in on_disk(hookbus)


def test_without_the_key_the_spool_says_what_is_missing_and_keeps_all(hookbus: Command, key: str) -> None:
    record(hookbus, HOOKBUS_SPOOL_KEY_FILE=key)
    with ScriptedGateway() as gateway:
        flush = hookbus("spool", "flush", HOOKBUS_URL=gateway.url)
        assert (flush.exit_code, gateway.events) == (1, [])
        assert "set HOOKBUS_SPOOL_KEY_FILE" in flush.stderr
        later = record(hookbus, HOOKBUS_URL=gateway.url)
        assert "set HOOKBUS_SPOOL_KEY_FILE" in later.stderr
        assert hookbus.spool()["waiting_events"] == 2
        assert hookbus("spool", "flush", HOOKBUS_URL=gateway.url, HOOKBUS_SPOOL_KEY_FILE=key).exit_code == 0
    assert len(gateway.events) == 2


def test_another_key_sets_aside_says_so_and_the_first_brings_back(hookbus: Command, key: str, tmp_path: Path) -> None:
    record(hookbus, HOOKBUS_SPOOL_KEY_FILE=key)
    other = new_key(hookbus, tmp_path / "other.key")
    with ScriptedGateway() as gateway:
        flush = hookbus("spool", "flush", HOOKBUS_URL=gateway.url, HOOKBUS_SPOOL_KEY_FILE=other)
        assert (flush.exit_code, gateway.events) == (1, [])
        assert "sealed with another key" in flush.stderr
        assert sum(hookbus.spool()["sealed_otherwise"].values()) == 1
        assert hookbus("spool", "flush", HOOKBUS_URL=gateway.url, HOOKBUS_SPOOL_KEY_FILE=key).exit_code == 0
    assert [event["data"]["prompt"] for event in gateway.events] == [SECRET]
    assert hookbus.spool()["sealed_otherwise"] == {}


def test_an_unusable_key_is_an_error_the_user_sees_and_nothing_is_written_plain(hookbus: Command, key: str) -> None:
    Path(key).chmod(0o644)
    run = record(hookbus, HOOKBUS_SPOOL_KEY_FILE=key)
    assert run.exit_code == 1
    assert "NOT RECORDED" in run.stderr
    assert "chmod 600" in run.stderr
    assert SECRET.encode() not in on_disk(hookbus)


def test_what_the_gateway_refuses_is_kept_sealed_and_can_be_read_with_the_key(hookbus: Command, key: str) -> None:
    environ = {"HOOKBUS_SPOOL_KEY_FILE": key}
    with ScriptedGateway(lambda _request: problem(422, "body_invalid", "no")) as gateway:
        record(hookbus, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="5", **environ)
    assert SECRET.encode() not in on_disk(hookbus)
    shown = hookbus("spool", "rejected", **environ)
    assert json.loads(shown.stdout)["event"]["data"]["prompt"] == SECRET
    assert hookbus("spool", "rejected").exit_code == 1


def test_a_key_file_is_never_written_over(hookbus: Command, key: str) -> None:
    assert hookbus("spool", "new-key", key).exit_code == 1
    assert hookbus("spool", "new-key").exit_code == 2
