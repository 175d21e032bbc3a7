"""``emit``, ``spool`` and the door to the other commands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.hookbus_command import Command
from support.scripted_gateway import Response, ScriptedGateway, problem

from hookbus.contracts.events import ShortEvent

NOWHERE = "http://127.0.0.1:9"
FAST = {"HOOKBUS_DEADLINE_S": "0.2"}


def emit(hookbus: Command, *arguments: str, **environ: str):
    return hookbus("emit", *arguments, **environ)


def test_emit_prints_the_id(hookbus: Command) -> None:
    with ScriptedGateway() as gateway:
        run = emit(
            hookbus,
            "usage",
            *("--agent", "a", "--project", "p", "--session", "s", "--data", '{"cost": 0.25, "tokens_used": 3}'),
            HOOKBUS_URL=gateway.url,
        )
    assert (run.exit_code, run.stderr) == (0, "")
    (event,) = gateway.events
    assert run.stdout.strip() == event["id"]
    short = ShortEvent.model_validate_json(json.dumps(event))
    assert (short.kind, short.agent_id, short.project, short.session) == ("usage", "a", "p", "s")
    assert short.data == {"cost": "0.250000", "tokens_used": 3}


def test_emit_as_json_under_a_given_id_with_data_from_stdin(hookbus: Command) -> None:
    with ScriptedGateway() as gateway:
        run = hookbus(
            *("emit", "notification", "--agent=a", "--id=my-id", "--data", "-", "--json"),
            stdin={"k": 1},
            HOOKBUS_URL=gateway.url,
        )
    assert run.answer == {"id": "my-id", "outcome": "accepted", "seq": 1, "problem": None}
    assert gateway.events[0]["data"] == {"k": 1}


def test_emit_takes_the_agent_from_the_settings(hookbus: Command) -> None:
    with ScriptedGateway() as gateway:
        assert emit(hookbus, "prompt", HOOKBUS_URL=gateway.url, HOOKBUS_AGENT_ID="me").exit_code == 0
    assert gateway.events[0]["agent_id"] == "me"


def test_emit_with_the_gateway_away_spools_and_says_so(hookbus: Command) -> None:
    run = emit(hookbus, "prompt", "--agent", "a", HOOKBUS_URL=NOWHERE, **FAST)
    assert run.exit_code == 3
    assert "kept in the spool" in run.stderr
    with ScriptedGateway() as gateway:
        flush = hookbus("spool", "flush", "--json", HOOKBUS_URL=gateway.url)
    assert (flush.exit_code, flush.answer["sent"], flush.answer["waiting_events"]) == (0, 1, 0)
    assert [event["id"] for event in gateway.events] == [run.stdout.strip()]


def test_emit_refused_is_the_answer_no(hookbus: Command) -> None:
    body = {"code": "body_invalid", "detail": "bad", "errors": [{"loc": "data.terminal_id", "msg": "Field required"}]}
    with ScriptedGateway(lambda _: Response(422, body)) as gateway:
        run = emit(hookbus, "prompt", "--agent", "a", "--json", HOOKBUS_URL=gateway.url)
    assert (run.exit_code, run.answer["outcome"]) == (1, "refused")
    assert "bad: data.terminal_id: Field required" in run.stderr


def test_emit_with_a_refused_key_names_the_fix(hookbus: Command) -> None:
    with ScriptedGateway(lambda _: problem(401, "unauthenticated")) as gateway:
        run = emit(hookbus, "prompt", "--agent", "a", HOOKBUS_URL=gateway.url)
    assert run.exit_code == 1
    assert "HOOKBUS_API_KEY" in run.stderr
    assert hookbus.spool()["waiting_events"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["moon-phase", "--agent", "a"],
        ["prompt"],
        ["prompt", "--agent", "a\n"],
        ["prompt", "--agent", "a", "--project", "p q"],
        ["prompt", "--agent", "a", "--id", "x y"],
        ["prompt", "--agent", "a", "--session", ""],
        ["prompt", "--agent", "a", "--data", "[1]"],
        ["prompt", "--agent", "a", "--data", "{"],
        ["prompt", "--agent", "a", "--wrong"],
        ["prompt", "--agent"],
        ["prompt", "--agent", "a", "--agent", "b"],
        ["prompt", "extra", "--agent", "a"],
    ],
)
def test_emit_wrong_usage(hookbus: Command, arguments: list[str]) -> None:
    run = emit(hookbus, *arguments, HOOKBUS_URL=NOWHERE, **FAST)
    assert run.exit_code == 2
    assert "usage:" in run.stderr


def test_spool_of_nothing(hookbus: Command) -> None:
    assert hookbus.spool()["waiting_events"] == 0
    assert hookbus("spool", "flush", HOOKBUS_URL=NOWHERE).exit_code == 0
    assert "waiting     0 events" in hookbus("spool", "status").stdout
    assert not hookbus.data_dir.exists()


def test_flush_with_the_gateway_away_loses_nothing(hookbus: Command) -> None:
    emit(hookbus, "prompt", "--agent", "a", HOOKBUS_URL=NOWHERE, **FAST)
    run = hookbus("spool", "flush", "--json", HOOKBUS_URL=NOWHERE, **FAST)
    assert (run.exit_code, run.answer["waiting_events"]) == (3, 1)


def test_flush_with_a_refused_key_loses_nothing(hookbus: Command) -> None:
    emit(hookbus, "prompt", "--agent", "a", HOOKBUS_URL=NOWHERE, **FAST)
    with ScriptedGateway(lambda _: problem(401, "unauthenticated")) as gateway:
        run = hookbus("spool", "flush", "--json", HOOKBUS_URL=gateway.url)
    assert (run.exit_code, run.answer["waiting_events"]) == (1, 1)
    assert "HOOKBUS_API_KEY" in run.stderr


def test_flush_reports_what_the_gateway_refuses(hookbus: Command) -> None:
    emit(hookbus, "prompt", "--agent", "a", "--id", "bad", HOOKBUS_URL=NOWHERE, **FAST)
    with ScriptedGateway(lambda _: problem(422, "body_invalid", "no")) as gateway:
        run = hookbus("spool", "flush", "--json", HOOKBUS_URL=gateway.url)
    assert (run.exit_code, run.answer["rejected"], run.answer["waiting_events"]) == (1, 1, 0)
    rejected = json.loads((hookbus.data_dir / "spool" / "rejected.jsonl").read_text())
    assert rejected["event"]["id"] == "bad"


@pytest.mark.parametrize("arguments", [[], ["wipe"], ["status", "flush"], ["status", "--wrong"]])
def test_spool_wrong_usage(hookbus: Command, arguments: list[str]) -> None:
    assert hookbus("spool", *arguments).exit_code == 2


def test_without_the_command_line_package_the_other_commands_say_what_is_missing(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.abc\n"
        "class Hide(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'hookbus.cli': raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, Hide())\n"
        "sys.argv = ['hookbus', 'budget', 'list']\n"
        "from hookbus.client.__main__ import main\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, env=dict(os.environ))
    assert done.returncode == 2
    assert b"hookbus-cli" in done.stderr


FORBIDDEN = {
    *(
        "argparse",
        "asyncio",
        "dataclasses",
        "datetime",
        "email",
        "enum",
        "http",
        "json",
        "logging",
        "pathlib",
        "random",
    ),
    *("re", "socket", "ssl", "subprocess", "threading", "tomllib", "typing", "urllib", "uuid"),
    *("hookbus.client.spool", "hookbus.client.spool_files"),
}


def test_a_hook_imports_as_little_as_it_can(hookbus: Command) -> None:
    """The start time of the hook is what the agent waits for at every tool call."""
    code = (
        "import os, sys\n"
        "before = set(sys.modules)\n"
        "from hookbus.client import hook\n"
        "code = hook.run(['claude-code'], os.environ)\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    payload: dict[str, Any] = {
        "session_id": "s",
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": {},
    }
    with ScriptedGateway() as gateway:
        done = subprocess.run(
            [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n{code}"],
            input=json.dumps(payload).encode(),
            env={**hookbus.environ, "HOOKBUS_URL": gateway.url},
            capture_output=True,
            check=True,
        )
    assert len(gateway.requests) == 1
    imported = set(done.stdout.decode().split())
    assert imported & FORBIDDEN == set()
    assert len(imported) < 30
