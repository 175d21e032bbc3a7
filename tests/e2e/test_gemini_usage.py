"""Gemini CLI with its hooks and its telemetry both on: each model call is charged once."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import httpx
from support.commands import hookbus
from support.events import unique
from support.stack import StackFixture
from support.waiting import eventually

WAIT_S = 60.0
CALLS = ((1_000, 200), (1_250, 90), (1_400, 310))


def hook(stack: StackFixture, agent: str, session: str, at: datetime, tokens: tuple[int, int]) -> None:
    read, written = tokens
    metadata = {"promptTokenCount": read, "candidatesTokenCount": written, "totalTokenCount": read + written}
    payload: dict[str, Any] = {
        "hook_event_name": "AfterModel",
        "session_id": session,
        "timestamp": at.isoformat().replace("+00:00", "Z"),
        "llm_request": {"model": "gemini-2.5-pro"},
        "llm_response": {"candidates": [{"finishReason": "STOP"}], "usageMetadata": metadata},
    }
    ran = hookbus(stack, "hook", "gemini", stdin=json.dumps(payload), HOOKBUS_AGENT_ID=agent)
    assert ran.code == 0, ran.err


def export(stack: StackFixture, agent: str, session: str, at: datetime, tokens: tuple[int, int]) -> None:
    read, written = tokens
    texts = {"event.name": "gemini_cli.api_response", "session.id": session, "model": "gemini-2.5-pro"}
    counts = {"input_token_count": read, "output_token_count": written, "total_token_count": read + written}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in texts.items()]
    attributes += [{"key": key, "value": {"intValue": str(value)}} for key, value in counts.items()]
    record = {"timeUnixNano": str(int(at.timestamp() * 1e9)), "attributes": attributes}
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    headers = {**stack.headers, "x-hookbus-agent": agent}
    httpx.post(f"{stack.url}/otlp/v1/logs", json=body, headers=headers, timeout=30).raise_for_status()


async def test_a_call_that_both_report_is_charged_once(stack: StackFixture) -> None:
    agent, session = unique("gemini"), unique("s")
    limit = {"limits": [{"unit": "tokens", "window": "total", "amount": 1_000_000}]}
    with httpx.Client(base_url=stack.url, headers=stack.headers, timeout=30) as client:
        client.post(f"/api/v1/budget/init/{agent}", json=limit).raise_for_status()
        # In the middle of a minute: both tell the time of the same moment, some milliseconds apart.
        at = datetime.fromtimestamp(time.time() // 60 * 60 + 30, UTC)
        for number, tokens in enumerate(CALLS):
            first, second = (hook, export) if number % 2 else (export, hook)
            first(stack, agent, session, at, tokens)
            second(stack, agent, session, at, tokens)

        def reports() -> int:
            return len(client.get(f"/api/v1/audit/entries?agent={agent}&kind=usage&limit=100").json()["entries"])

        def spent() -> int:
            (remaining,) = client.get(f"/api/v1/budget/status/{agent}").json()["remaining"]
            return int(remaining["spent"])

        wanted = sum(sum(tokens) for tokens in CALLS)
        await eventually(lambda: reports() == 2 * len(CALLS), WAIT_S)
        await eventually(lambda: spent() >= wanted, WAIT_S)
        # A last report of its own, charged behind the others, shows that nothing of them is still on its way.
        export(stack, agent, unique("s"), at, (7, 0))
        await eventually(lambda: spent() != wanted, WAIT_S)
        assert spent() == wanted + 7
