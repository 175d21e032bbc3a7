"""What is away: the bus, a service, a key's record. Always 503 with Retry-After, soon, and whole again afterwards."""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from support.gateway_service import GatewayProcess, gateway_process, new_api_key
from support.servers import NatsFixture

from hookbus.contracts.session import KeyScope
from hookbus.gateway.keys import RECORD_AGE_S_MAX

ANSWER_S_MAX = 2.0
KNOWN_AWAY_S_MAX = 1.5
"""Once the gateway has noticed it does not wait for what cannot answer."""
BRIEF_S = 4.0
REVOKED_S_MAX = 1.0
EVENT = {"kind": "prompt", "agent_id": "agent-away"}
HOOK: dict[str, object] = {"hook_event_name": "PreToolUse", "tool_name": "Read", "tool_input": {}, "session_id": "s"}
HOOK_PATH = "/api/v1/hooks/claude-code"
CLOSED = "?fail_mode=closed"
PRE_TASK = {"kind": "pre-task", "agent_id": "agent-away", "data": {"tool": "Read"}}


async def timed(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> tuple[httpx.Response, float]:
    began = time.monotonic()
    answer = await client.request(method, path, json=body)
    return answer, time.monotonic() - began


def assert_away(answer: httpx.Response, took_s: float, took_s_max: float = ANSWER_S_MAX) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "unavailable"
    assert int(answer.headers["retry-after"]) >= 1
    assert took_s < took_s_max


def assert_denied(answer: httpx.Response) -> None:
    assert answer.status_code == 200, answer.text
    assert answer.json()["hookSpecificOutput"]["permissionDecision"] == "deny"
    assert "degraded" in answer.json()["hookSpecificOutput"]["permissionDecisionReason"]


async def test_bus_stopped_and_back(own_gateway: GatewayProcess) -> None:
    """NATS stopped: 503 within two seconds. Started again: stored again, without a restart of the gateway."""
    gateway = own_gateway
    async with gateway.client("admin") as client:
        assert (await client.post("/api/v1/events", json=EVENT)).status_code == 202
        await asyncio.to_thread(gateway.nats.stop)
        for _ in range(3):
            assert_away(*await timed(client, "POST", "/api/v1/events", EVENT))
            assert_away(*await timed(client, "POST", "/api/v1/events", [EVENT] * 50))
            assert_away(*await timed(client, "POST", "/api/v1/decide", PRE_TASK))
            assert_away(*await timed(client, "GET", "/api/v1/budget/status/agent-away"))
            assert_away(*await timed(client, "GET", "/api/v1/budget/health"))
            await asyncio.sleep(0.3)
        assert_away(*await timed(client, "POST", "/api/v1/events", EVENT), KNOWN_AWAY_S_MAX)
        assert_away(*await timed(client, "GET", "/api/v1/budget/health"), KNOWN_AWAY_S_MAX)
        ready, took_s = await timed(client, "GET", "/readyz")
        assert ready.status_code == 503
        assert set(ready.json()["checks"]) == {"nats", "budget", "session", "audit"}
        assert "ok" not in ready.json()["checks"].values()
        assert took_s < ANSWER_S_MAX
        assert (await client.get("/livez")).status_code == 200
        await asyncio.to_thread(gateway.nats.start)
        deadline = time.monotonic() + 15
        while (await client.post("/api/v1/events", json=EVENT)).status_code != 202:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)


async def test_bus_killed_under_load(own_gateway: GatewayProcess) -> None:
    """SIGKILL while requests are under way: each is answered, 202 or 503, and soon."""
    gateway = own_gateway
    took: list[float] = []
    statuses: list[int] = []

    async def send(client: httpx.AsyncClient, worker: int) -> None:
        for n in range(60):
            answer, took_s = await timed(client, "POST", "/api/v1/events", {**EVENT, "id": f"load-{worker}-{n}"})
            took.append(took_s)
            statuses.append(answer.status_code)
            await asyncio.sleep(0.01)

    async with gateway.client("events") as client:
        senders = [asyncio.create_task(send(client, worker)) for worker in range(24)]
        await asyncio.sleep(0.4)
        await asyncio.to_thread(gateway.nats.kill)
        await asyncio.gather(*senders)
    assert set(statuses) == {202, 503}
    # These times hold the waits of 24 clients on this loop as well.
    assert max(took) < 10 * ANSWER_S_MAX


async def test_a_service_away(own_gateway: GatewayProcess) -> None:
    """Readiness names it; what needs it is 503; what does not goes on."""
    gateway = own_gateway
    budget = gateway.peers.brokers[0]
    await budget.stop()
    async with gateway.client("admin") as client:
        ready = await client.get("/readyz")
        assert ready.status_code == 503
        checks = ready.json()["checks"]
        assert checks["budget"] != "ok"
        assert checks["nats"] == checks["session"] == checks["audit"] == "ok"
        assert_away(*await timed(client, "POST", "/api/v1/decide", PRE_TASK))
        assert_away(*await timed(client, "GET", "/api/v1/budget/health"))
        assert (await client.post("/api/v1/events", json=EVENT)).status_code == 202
        assert (await client.get("/api/v1/sessions")).status_code == 200
        # The guard needs nobody: what it refuses is refused all the same.
        bad = {**PRE_TASK, "data": {"tool": "Read", "tool_input": {"file_path": "/etc/passwd"}, "cwd": "/home/a/b"}}
        assert (await client.post("/api/v1/decide", json=bad)).json()["decision"] == "deny"


async def test_a_slow_service_is_not_waited_for(own_gateway: GatewayProcess) -> None:
    own_gateway.peers.delay_s = 10
    async with own_gateway.client("events") as client:
        assert_away(*await timed(client, "POST", "/api/v1/decide", PRE_TASK))
        opened, _ = await timed(client, "POST", HOOK_PATH, HOOK)
        closed, _ = await timed(client, "POST", HOOK_PATH + CLOSED, HOOK)
    own_gateway.peers.delay_s = 0
    assert opened.status_code == 503
    assert_denied(closed)


async def test_a_hook_that_fails_closed_is_denied_though_no_key_can_be_checked(own_gateway: GatewayProcess) -> None:
    """Whoever is known not to be let in still gets a status."""
    async with own_gateway.client("events") as client, own_gateway.client(None) as nobody:
        assert (await client.post(HOOK_PATH + CLOSED, json=HOOK)).json() == {}
        assert (await nobody.post(HOOK_PATH + CLOSED, json=HOOK)).status_code == 401
        await asyncio.to_thread(own_gateway.nats.stop)
        await asyncio.sleep(RECORD_AGE_S_MAX)
        assert_denied((await timed(client, "POST", HOOK_PATH + CLOSED, HOOK))[0])
        assert_away(*await timed(client, "POST", HOOK_PATH, HOOK))
        record = {**HOOK, "hook_event_name": "PostToolUse"}
        assert_away(*await timed(client, "POST", HOOK_PATH + CLOSED, record))
        assert (await nobody.post(HOOK_PATH + CLOSED, json=HOOK)).status_code == 401


async def test_keys_change_while_they_are_used(own_gateway: GatewayProcess) -> None:
    """A revoked key is refused within a second, though it was just used; an expired one at once."""
    gateway = own_gateway
    text, record = new_api_key(KeyScope.EVENTS)
    short_lived, expiring = new_api_key(KeyScope.EVENTS, expires_at=datetime.now(UTC) + timedelta(seconds=BRIEF_S))
    await gateway.put_key(record)
    await gateway.put_key(expiring)
    async with gateway.client(text) as client, gateway.client(short_lived) as brief:
        assert (await client.post("/api/v1/events", json=EVENT)).status_code == 202
        assert (await brief.post("/api/v1/events", json=EVENT)).status_code == 202
        await gateway.put_key(record.model_copy(update={"revoked": True}))
        revoked_at = time.monotonic()
        while (await client.post("/api/v1/events", json=EVENT)).status_code != 401:
            assert time.monotonic() - revoked_at < REVOKED_S_MAX
            await asyncio.sleep(0.02)
        await asyncio.sleep(BRIEF_S)
        assert (await brief.post("/api/v1/events", json=EVENT)).status_code == 401


async def test_a_key_that_the_bucket_lacks_is_asked_of_the_service(own_gateway: GatewayProcess) -> None:
    """Found there it works; with the service away as well nobody gets in, and it is no 401."""
    gateway = own_gateway
    text, record = new_api_key(KeyScope.EVENTS)
    gateway.peers.known_keys[record.key_id] = record
    unknown, _ = new_api_key(KeyScope.ADMIN)
    async with gateway.client(text) as client, gateway.client(unknown) as nobody:
        assert (await client.post("/api/v1/events", json=EVENT)).status_code == 202
        assert (await nobody.post("/api/v1/events", json=EVENT)).status_code == 401
        await gateway.peers.brokers[1].stop()
        await asyncio.sleep(0.6)
        assert_away(*await timed(client, "POST", "/api/v1/events", EVENT))
        assert_away(*await timed(nobody, "POST", "/api/v1/events", EVENT))


async def test_rate_limits(nats_server: NatsFixture, tmp_path: Path) -> None:
    """Per agent, per key, and for an address that keeps failing; a valid key of that address still works."""
    limits = {
        "HOOKBUS_RATE_LIMIT_PER_KEY": "40/minute",
        "HOOKBUS_RATE_LIMIT_PER_AGENT": "10/minute",
        "HOOKBUS_RATE_LIMIT_FAILURES": "5/minute",
    }
    async with gateway_process(nats_server, tmp_path / "gateway", limits) as gateway:
        agent = f"agent-{uuid.uuid4().hex[:8]}"
        async with gateway.client("events") as client:
            event = {**EVENT, "agent_id": agent}
            assert (await client.post("/api/v1/events", json=[event] * 9)).status_code == 202
            assert (await client.post("/api/v1/events", json=event)).status_code == 202
            over = await client.post("/api/v1/events", json=event)
            assert over.status_code == 429
            assert_denied(await client.post(f"{HOOK_PATH}{CLOSED}&agent_id={agent}", json=HOOK))
            assert over.json()["code"] == "rate_limited"
            assert 1 <= int(over.headers["retry-after"]) <= 60
            assert over.headers["ratelimit-limit"] == "10"
            assert over.headers["ratelimit-remaining"] == "0"
            assert 1 <= int(over.headers["ratelimit-reset"]) <= 60
            assert (await client.post("/api/v1/decide", json={**PRE_TASK, "agent_id": agent})).status_code == 429
            statuses = [
                (await client.post("/api/v1/events", json={**EVENT, "agent_id": f"other-{n}"})).status_code
                for n in range(40)
            ]
            assert statuses[0] == 202
            assert statuses[-1] == 429
        unknown, _ = new_api_key(KeyScope.EVENTS)
        async with gateway.client(unknown) as nobody:
            failures = [(await nobody.post("/api/v1/events", json=EVENT)).status_code for _ in range(8)]
            assert failures == [401] * 5 + [429] * 3
        async with gateway.client("audit") as other:
            assert (await other.get("/api/v1/audit/checkpoint")).status_code == 200
