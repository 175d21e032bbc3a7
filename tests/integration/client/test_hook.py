"""``hookbus hook`` as an agent runs it: a process, a payload, a gateway that is up, down, slow or says no."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.hookbus_command import COMMAND, Command
from support.scripted_gateway import Request, Response, Script, ScriptedGateway, decision, problem

from hookbus.contracts.events import ShortEvent

PRE: dict[str, Any] = {
    "session_id": "s-1",
    "hook_event_name": "PreToolUse",
    "cwd": "/home/u/p",
    "tool_name": "Bash",
    "tool_input": {"command": "ls"},
    "tool_use_id": "toolu_1",
}
POST: dict[str, Any] = {**PRE, "hook_event_name": "PostToolUse", "tool_response": {"stdout": "x"}}
GENERIC_PRE = {"task_id": "t1", "assigned_agent": "coder", "kind": "pre-task"}
NOWHERE = "http://127.0.0.1:9"
SLACK_S = 5.0
"""What a loaded machine may add to a deadline."""


def verdict(kind: str, code: str = "cost_exhausted") -> Script:
    def script(request: Request) -> Response:
        return Response(200, decision(request.body["id"], kind, "the day's budget is spent", code))

    return script


def permission(run: Any):
    return run.answer["hookSpecificOutput"]["permissionDecision"]


def test_no_objection_is_an_empty_answer_and_the_gateway_sees_the_whole_event(hookbus: Command) -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    with ScriptedGateway() as gateway:
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url, TRACEPARENT=trace)
    assert (run.exit_code, run.stdout, run.stderr) == (0, "", "")
    (request,) = gateway.requests
    assert request.path == "/api/v1/decide"
    assert request.headers["authorization"] == "Bearer hbk_test"
    assert request.headers["traceparent"] == request.body["traceparent"]
    assert request.headers["traceparent"][:35] == trace[:35]
    assert request.headers["tracestate"] == "hookbus=" + "b" * 16
    event = ShortEvent.model_validate_json(json.dumps(request.body))
    assert (event.kind, event.session, event.data["operation_id"]) == ("pre-task", "s-1", "toolu_1")


@pytest.mark.parametrize("kind", ["deny", "ask"])
def test_an_objection_reaches_claude_code_in_its_own_schema(hookbus: Command, kind: str) -> None:
    with ScriptedGateway(verdict(kind)) as gateway:
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url)
    assert (run.exit_code, permission(run)) == (0, kind)
    assert "the day's budget is spent" in run.stdout


@pytest.mark.parametrize(("kind", "exit_code"), [("allow", 0), ("deny", 2), ("ask", 2)])
def test_the_generic_answer(hookbus: Command, kind: str, exit_code: int) -> None:
    with ScriptedGateway(verdict(kind, "ok")) as gateway:
        run = hookbus("hook", "generic", stdin=GENERIC_PRE, HOOKBUS_URL=gateway.url)
    assert run.exit_code == exit_code
    assert run.answer == {"decision": kind, "reason": "the day's budget is spent", "code": "ok"}
    assert ("budget is spent" in run.stderr) is (exit_code == 2)


def test_records_go_out_together(hookbus: Command) -> None:
    edit = {**POST, "tool_name": "Edit", "tool_input": {"file_path": "/a", "old_string": "a", "new_string": "b"}}
    with ScriptedGateway() as gateway:
        run = hookbus("hook", "claude-code", stdin=edit, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="5")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "", "")
    assert len(gateway.requests) == 1
    assert [event["kind"] for event in gateway.events] == ["post-task", "post-edit"]


@pytest.mark.parametrize(
    ("mode", "stays"),
    [("open", "allow"), ("closed", "deny")],
)
def test_with_the_gateway_down_the_fail_mode_decides_and_the_event_is_kept(
    hookbus: Command, mode: str, stays: str
) -> None:
    run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=NOWHERE, HOOKBUS_FAIL_MODE=mode)
    assert run.exit_code == 0
    assert run.elapsed_s < 2.0 + SLACK_S
    assert "degraded" in run.stdout
    if mode == "closed":
        assert permission(run) == "deny"
    else:
        assert set(run.answer) == {"systemMessage"}
    assert hookbus.spool()["waiting_events"] == 1
    with ScriptedGateway() as gateway:
        assert hookbus("spool", "flush", HOOKBUS_URL=gateway.url).exit_code == 0
    (event,) = gateway.events
    assert (event["data"]["degraded"], event["data"]["decision"]) == (True, stays)
    ShortEvent.model_validate_json(json.dumps(event))


@pytest.mark.parametrize(("mode", "exit_code"), [("open", 0), ("closed", 2)])
def test_generic_with_the_gateway_down(hookbus: Command, mode: str, exit_code: int) -> None:
    run = hookbus("hook", "generic", stdin=GENERIC_PRE, HOOKBUS_URL=NOWHERE, HOOKBUS_FAIL_MODE=mode)
    assert (run.exit_code, run.answer["code"]) == (exit_code, "degraded")
    assert "degraded" in run.stderr


def test_a_record_with_the_gateway_down_is_kept_and_the_agent_goes_on(hookbus: Command) -> None:
    run = hookbus("hook", "claude-code", stdin=POST, HOOKBUS_URL=NOWHERE)
    assert (run.exit_code, run.stdout) == (0, "")
    assert "kept in the spool" in run.stderr
    assert run.elapsed_s < 0.5 + SLACK_S
    assert hookbus.spool()["waiting_events"] == 1


@pytest.mark.parametrize(("payload", "deadline_s"), [(PRE, 2.0), (POST, 0.5)])
def test_a_black_hole_costs_no_more_than_the_deadline(
    hookbus: Command, payload: dict[str, Any], deadline_s: float
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        run = hookbus(
            "hook",
            "claude-code",
            stdin=payload,
            HOOKBUS_URL=f"http://127.0.0.1:{hole.getsockname()[1]}",
            HOOKBUS_FAIL_MODE="closed",
        )
    assert deadline_s * 0.5 < run.elapsed_s < deadline_s + SLACK_S
    assert hookbus.spool()["waiting_events"] == 1
    if payload is PRE:
        assert permission(run) == "deny"


def test_the_deadline_can_be_set(hookbus: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        url = f"http://127.0.0.1:{hole.getsockname()[1]}"
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=url, HOOKBUS_DEADLINE_S="0.2")
    assert run.elapsed_s < 0.2 + SLACK_S


def test_overloaded_and_then_fine_is_fine_under_the_same_id(hookbus: Command) -> None:
    answers = iter([problem(503, "unavailable"), problem(429, "rate_limited")])
    with ScriptedGateway(lambda _: next(answers, None)) as gateway:
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="20")
    assert (run.exit_code, run.stdout, run.stderr) == (0, "", "")
    assert len(gateway.requests) == 3
    assert len({request.body["id"] for request in gateway.requests}) == 1


def test_retry_after_beyond_the_deadline_is_not_waited_for(hookbus: Command) -> None:
    with ScriptedGateway(lambda _: problem(503, "unavailable", retry_after="30")) as gateway:
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url)
    assert len(gateway.requests) == 1
    assert run.elapsed_s < SLACK_S
    assert "degraded" in run.stdout


@pytest.mark.parametrize(("status", "fix"), [(401, "HOOKBUS_API_KEY"), (403, "scope events")])
@pytest.mark.parametrize("mode", ["open", "closed"])
def test_a_refused_key_is_degraded_and_names_the_fix(hookbus: Command, status: int, fix: str, mode: str) -> None:
    with ScriptedGateway(lambda _: problem(status, "unauthenticated")) as gateway:
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url, HOOKBUS_FAIL_MODE=mode)
        record = hookbus("hook", "claude-code", stdin=POST, HOOKBUS_URL=gateway.url)
    assert len([request for request in gateway.requests if request.path == "/api/v1/decide"]) == 1
    assert fix in run.stderr
    assert fix in record.stderr
    assert (record.exit_code, hookbus.spool()["waiting_events"]) == (0, 2)
    if mode == "closed":
        assert permission(run) == "deny"
    assert "hbk_test" not in run.stdout + run.stderr + record.stderr


def test_refused_input_is_a_deny_in_either_mode(hookbus: Command) -> None:
    with ScriptedGateway(lambda _: problem(422, "input_refused", "a prototype key")) as gateway:
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url)
    assert permission(run) == "deny"
    assert "a prototype key" in run.stdout
    assert hookbus.spool()["waiting_events"] == 0


def test_a_refused_record_is_kept_apart_and_said(hookbus: Command) -> None:
    with ScriptedGateway(lambda _: problem(422, "body_invalid", "no such field")) as gateway:
        run = hookbus("hook", "claude-code", stdin=POST, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="5")
    assert (run.exit_code, hookbus.spool()["waiting_events"], hookbus.spool()["rejected_events"]) == (0, 0, 1)
    assert "no such field" in run.stderr


@pytest.mark.parametrize("body", [None, [], {"decision": "yes"}, {"decision": "allow", "event_id": "another"}])
def test_something_else_at_the_address_does_not_decide(hookbus: Command, body: Any) -> None:
    with ScriptedGateway(lambda _: Response(200, body)) as gateway:
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url, HOOKBUS_FAIL_MODE="closed")
    assert permission(run) == "deny"


def test_the_next_hook_sends_what_waits_in_order_and_after_its_answer(hookbus: Command) -> None:
    for number in range(3):
        hookbus("hook", "generic", "notification", stdin={"agent_id": "a", "number": number}, HOOKBUS_URL=NOWHERE)
    with ScriptedGateway(verdict("deny")) as gateway:
        gateway_script, gateway.script = gateway.script, None
        assert gateway_script is not None
        run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=gateway.url)
    assert run.exit_code == 0
    assert [event["data"]["number"] for event in gateway.events] == [0, 1, 2]
    assert gateway.requests[0].path == "/api/v1/decide"
    assert hookbus.spool()["waiting_events"] == 0


def test_a_record_goes_behind_what_waits(hookbus: Command) -> None:
    hookbus("hook", "generic", "notification", stdin={"agent_id": "a", "number": 0}, HOOKBUS_URL=NOWHERE)
    with ScriptedGateway() as gateway:
        run = hookbus(
            "hook",
            "generic",
            "notification",
            stdin={"agent_id": "a", "number": 1},
            HOOKBUS_URL=gateway.url,
            HOOKBUS_DEADLINE_S="5",
        )
    assert (run.exit_code, run.stderr) == (0, "")
    assert [event["data"]["number"] for event in gateway.events] == [0, 1]


BAD_INPUTS = {
    "empty": b"",
    "blank": b" \n",
    "broken": b'{"hook_event_name": "PreToolUse", ',
    "array": b"[]",
    "binary": bytes(range(256)) * 40,
    "nan": b'{"hook_event_name": "PreToolUse", "x": NaN}',
    "deep": b'{"a":' * 50_000,
    "no event": b"{}",
    "10 MB of nothing": b" " * 10_000_000,
}


@pytest.mark.parametrize("name", BAD_INPUTS)
@pytest.mark.parametrize(
    ("agent", "mode", "exit_code"),
    [
        ("claude-code", "open", 0),
        ("claude-code", "closed", 2),
        ("codex", "open", 0),
        ("codex", "closed", 2),
        ("gemini", "open", 0),
        ("gemini", "closed", 2),
        ("cursor", "open", 0),
        ("cursor", "closed", 2),
        ("copilot", "open", 0),
        ("copilot", "closed", 0),
        ("generic", "open", 0),
        ("generic", "closed", 2),
    ],
)
def test_bad_input_is_decided_by_the_fail_mode(
    hookbus: Command, name: str, agent: str, mode: str, exit_code: int
) -> None:
    run = hookbus("hook", agent, stdin=BAD_INPUTS[name], HOOKBUS_URL=NOWHERE, HOOKBUS_FAIL_MODE=mode)
    assert run.exit_code == exit_code
    assert run.elapsed_s < 2.0 + SLACK_S
    assert "degraded" in run.stderr
    assert "Traceback" not in run.stderr
    assert "fault in the hook" not in run.stderr
    if agent == "copilot":
        assert (run.answer or {}).get("permissionDecision") == ("deny" if mode == "closed" else None)


@pytest.mark.parametrize("name", ["PreToolUse", "PostToolUse"])
def test_ten_megabytes_are_cut_to_fit(hookbus: Command, name: str) -> None:
    payload = {**PRE, "hook_event_name": name, "tool_input": {"file_path": "/a", "content": "x" * 10_000_000}}
    with ScriptedGateway() as gateway:
        run = hookbus("hook", "claude-code", stdin=payload, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="10")
    assert (run.exit_code, run.stderr, run.stdout) == (0, "", "")
    (request,) = gateway.requests
    assert len(json.dumps(request.body)) < 256 * 1024
    assert request.body["data"]["truncated"] == ["content"]


def test_a_command_too_long_to_be_checked_whole_is_put_to_the_person(hookbus: Command) -> None:
    payload = {**PRE, "tool_input": {"command": "true " * 100_000 + "; rm -rf /"}}
    with ScriptedGateway() as gateway:
        run = hookbus("hook", "claude-code", stdin=payload, HOOKBUS_URL=gateway.url)
    assert permission(run) == "ask"


def test_codex_hands_its_notification_over_as_an_argument(hookbus: Command) -> None:
    payload = json.dumps({"type": "agent-turn-complete", "thread-id": "th-1", "turn-id": "1", "cwd": "/p"})
    with ScriptedGateway() as gateway:
        run = hookbus("hook", "codex", payload, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="5")
    assert (run.exit_code, run.stderr) == (0, "")
    assert (gateway.events[0]["kind"], gateway.events[0]["session"]) == ("notification", "th-1")


@pytest.mark.parametrize(("mode", "exit_code"), [("open", 0), ("closed", 2)])
def test_a_verdict_nobody_knows_is_no_verdict(hookbus: Command, mode: str, exit_code: int) -> None:
    with ScriptedGateway(verdict("maybe")) as gateway:
        run = hookbus("hook", "generic", stdin=GENERIC_PRE, HOOKBUS_URL=gateway.url, HOOKBUS_FAIL_MODE=mode)
    assert (run.exit_code, run.answer["code"]) == (exit_code, "degraded")
    assert hookbus.spool()["waiting_events"] == 1


@pytest.mark.parametrize(("mode", "exit_code"), [("open", 0), ("closed", 2)])
def test_stdin_that_never_ends(hookbus: Command, mode: str, exit_code: int) -> None:
    process = hookbus.start("hook", "claude-code", HOOKBUS_URL=NOWHERE, HOOKBUS_FAIL_MODE=mode)
    assert process.wait(timeout=2.0 + SLACK_S) == exit_code
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()


def shell(hookbus: Command, text: str, **environ: str):
    hook = Path(sys.executable).parent / "hookbus"
    return subprocess.run(
        ["/bin/sh", "-c", text, "sh", str(hook)],
        env={**hookbus.environ, "HOOKBUS_URL": NOWHERE, "HOOKBUS_DEADLINE_S": "0.2", **environ},
        input=json.dumps(PRE).encode(),
        capture_output=True,
        timeout=30,
        check=False,
    )


def test_closed_descriptors(hookbus: Command) -> None:
    assert shell(hookbus, '"$1" hook claude-code <&-', HOOKBUS_FAIL_MODE="closed").returncode == 2
    assert shell(hookbus, '"$1" hook claude-code <&-').returncode == 0
    assert shell(hookbus, '"$1" hook claude-code 2>&-', HOOKBUS_FAIL_MODE="closed").returncode == 0
    everything = shell(hookbus, '"$1" hook claude-code >&- 2>&- <&-', HOOKBUS_FAIL_MODE="closed")
    assert everything.returncode == 2


def test_a_deny_that_cannot_be_written_is_not_taken_for_consent(hookbus: Command) -> None:
    assert shell(hookbus, '"$1" hook claude-code >&-', HOOKBUS_FAIL_MODE="closed").returncode == 2


@pytest.mark.parametrize("arguments", [[], ["nobody"], ["claude-code", "pre-task"], ["generic", "a", "b"]])
def test_wrong_usage_lists_the_agents(hookbus: Command, arguments: list[str]) -> None:
    run = hookbus("hook", *arguments)
    assert run.exit_code == 2
    assert "claude-code" in run.stderr
    assert "generic" in run.stderr


@pytest.mark.parametrize(("mode", "exit_code"), [("open", 1), ("closed", 0)])
def test_an_event_that_can_be_stored_nowhere_is_never_dropped_in_silence(
    hookbus: Command, mode: str, exit_code: int, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("in the way")
    run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_URL=NOWHERE, HOOKBUS_FAIL_MODE=mode)
    assert run.exit_code == exit_code
    assert "NOT RECORDED" in run.stderr
    if mode == "closed":
        assert permission(run) == "deny"
    record = hookbus("hook", "claude-code", stdin=POST, HOOKBUS_URL=NOWHERE)
    assert record.exit_code == 1
    assert "NOT RECORDED" in record.stderr


@pytest.mark.parametrize("name", ["HOOKBUS_AGENT_ID", "HOOKBUS_URL"])
def test_a_wrong_setting_is_degraded_and_named(hookbus: Command, name: str) -> None:
    run = hookbus("hook", "claude-code", stdin=PRE, HOOKBUS_FAIL_MODE="closed", **{name: "not legal"})
    assert permission(run) == "deny"
    assert name in run.stdout


def test_a_hook_killed_before_its_answer_leaves_nothing_half_done(hookbus: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hole:
        process = hookbus.start("hook", "claude-code", HOOKBUS_URL=f"http://127.0.0.1:{hole.getsockname()[1]}")
        assert process.stdin is not None
        process.stdin.write(json.dumps(PRE).encode())
        process.stdin.close()
        connection, _ = hole.accept()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        connection.close()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
    assert hookbus.spool()["waiting_events"] == 0


@pytest.mark.parametrize(
    ("agent", "kind", "exit_code"),
    [("claude-code", "deny", 2), ("cursor", "deny", 2), ("cursor", "allow", 1), ("generic", "ask", 2)],
)
def test_only_an_objection_blocks_where_nobody_reads_the_answer(
    hookbus: Command, agent: str, kind: str, exit_code: int
) -> None:
    payload = {**PRE, "hook_event_name": "preToolUse", "kind": "pre-task"} if agent != "claude-code" else PRE
    with ScriptedGateway() as gateway:
        gateway.script = verdict(kind)
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {COMMAND} hook {agent} >&-"],
            input=json.dumps(payload).encode(),
            env={**hookbus.environ, "HOOKBUS_URL": gateway.url},
            capture_output=True,
            check=False,
        )
    assert (done.returncode, b"stdout is closed" in done.stderr) == (exit_code, True)


def test_help_is_no_wrong_usage(hookbus: Command) -> None:
    run = hookbus("hook", "--help")
    assert (run.exit_code, "hookbus hook AGENT" in run.stdout, run.stderr) == (0, True, "")


def test_a_name_that_no_agent_may_have_is_no_way_around_the_guard(hookbus: Command) -> None:
    """With the fail mode open as well: who could choose such a name would be decided about by nobody."""
    with ScriptedGateway() as gateway:
        payload = {**GENERIC_PRE, "assigned_agent": "bad id!"}
        run = hookbus("hook", "generic", stdin=payload, HOOKBUS_URL=gateway.url)
    assert (run.exit_code, run.answer["decision"], run.answer["code"]) == (2, "deny", "input_refused")
