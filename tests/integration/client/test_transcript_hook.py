"""A Stop hook reports what the transcript says was used, and the agent does not wait for that."""

import json
import time
from pathlib import Path
from typing import Any

from support.hookbus_command import Command
from support.scripted_gateway import Request, Response, ScriptedGateway

SLOW_S = 3.0
WAIT_S = 15.0


def transcript(folder: Path) -> Path:
    path = folder / "s-1.jsonl"
    usage = {"input_tokens": 10, "output_tokens": 20}
    entry = {"sessionId": "s-1", "requestId": "req_1", "message": {"id": "m", "model": "claude-x", "usage": usage}}
    path.write_text(json.dumps(entry) + "\n", encoding="utf-8")
    return path


def usages(gateway: ScriptedGateway) -> list[dict[str, Any]]:
    return [event for event in gateway.events if event["kind"] == "usage"]


def test_stop_reports_usage_beside_the_agents_way(hookbus: Command, tmp_path: Path) -> None:
    def slow_for_usage(request: Request) -> Response | None:
        if '"kind": "usage"' in json.dumps(request.body):
            time.sleep(SLOW_S)
        return None

    stop = {"hook_event_name": "Stop", "session_id": "s-1", "transcript_path": str(transcript(tmp_path))}
    with ScriptedGateway(slow_for_usage) as gateway:
        run = hookbus("hook", "claude-code", stdin=stop, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="5")
        assert (run.exit_code, run.stdout, run.stderr) == (0, "", "")
        assert run.elapsed_s < SLOW_S
        until = time.monotonic() + WAIT_S
        while not usages(gateway) and time.monotonic() < until:
            time.sleep(0.05)
        again = hookbus("hook", "claude-code", stdin=stop, HOOKBUS_URL=gateway.url, HOOKBUS_DEADLINE_S="5")
        assert again.exit_code == 0
        time.sleep(0.5)
    (usage,) = usages(gateway)
    assert (usage["data"]["request_id"], usage["data"]["provenance"]) == ("req_1", "transcript")
    assert (usage["session"], usage["data"]["output_tokens"]) == ("s-1", 20)


def test_usage_is_spooled_where_the_gateway_is_away(hookbus: Command, tmp_path: Path) -> None:
    end = {"hook_event_name": "SessionEnd", "session_id": "s-1", "transcript_path": str(transcript(tmp_path))}
    run = hookbus("hook", "claude-code", stdin=end, HOOKBUS_URL="http://127.0.0.1:9")
    assert run.exit_code == 0
    until = time.monotonic() + WAIT_S
    while hookbus.spool()["waiting_events"] < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert hookbus.spool()["waiting_events"] == 2
