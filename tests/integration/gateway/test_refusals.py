"""Every endpoint and every way to misuse it: the documented problem, and never a 500."""

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import pytest
from support.gateway_service import GatewayProcess

from hookbus.contracts.problems import STATUS_BY_CODE, TITLE_BY_CODE, ProblemCode

PROBLEM = "application/problem+json"
AGENT = "agent-table"


class Call(NamedTuple):
    method: str
    path: str
    scope: str
    body: Any = None
    """A body that is accepted; None where the endpoint takes none."""
    names_agent: bool = False
    """The path holds an identifier."""
    optional_body: bool = False


EVENT = {"kind": "prompt", "agent_id": AGENT}
PRE_TASK = {"kind": "pre-task", "agent_id": AGENT}
CHECK = {"agent_id": AGENT, "estimated_tokens": 10, "estimated_cost": "0.01"}
DEDUCT = {"agent_id": AGENT, "tokens_used": 10, "cost": "0.01", "idempotency_key": "k-1"}
RELEASE = {"agent_id": AGENT, "reservation": "rsv-1"}
KEY = {"name": "ci", "scopes": ["events"]}

CALLS = [
    Call("POST", "/api/v1/events", "events", EVENT),
    Call("POST", "/api/v1/decide", "events", PRE_TASK),
    Call("POST", "/api/v1/hooks/generic", "events", {"kind": "prompt", "agent_id": AGENT}),
    Call(
        "POST",
        f"/api/v1/budget/init/{AGENT}",
        "budget:write",
        {"tokens_per_hour": 5},
        names_agent=True,
        optional_body=True,
    ),
    Call("POST", "/api/v1/budget/check", "budget:read", CHECK),
    Call("POST", "/api/v1/budget/deduct", "budget:write", DEDUCT),
    Call("POST", "/api/v1/budget/release", "budget:write", RELEASE),
    Call("GET", "/api/v1/budget/list", "budget:read"),
    Call("GET", f"/api/v1/budget/status/{AGENT}", "budget:read", names_agent=True),
    Call("GET", f"/api/v1/budget/history/{AGENT}", "budget:read", names_agent=True),
    Call("POST", f"/api/v1/budget/reset/{AGENT}", "budget:write", {}, names_agent=True, optional_body=True),
    Call(
        "POST",
        "/api/v1/budget/scopes/project/web",
        "budget:write",
        {"tokens_per_day": 5},
        names_agent=True,
        optional_body=True,
    ),
    Call("GET", "/api/v1/budget/scopes/team/core", "budget:read", names_agent=True),
    Call("GET", "/api/v1/budget/scopes/global/global/history", "budget:read"),
    Call("POST", "/api/v1/budget/scopes/project/web/reset", "budget:write", {}, optional_body=True),
    Call(
        "POST",
        "/api/v1/budget/scopes/session/agent-1~s-1",
        "budget:write",
        {"tokens_per_day": 5},
        names_agent=True,
        optional_body=True,
    ),
    Call("GET", "/api/v1/budget/scopes/subagent/agent-1~s-1~x", "budget:read"),
    Call("GET", "/api/v1/sessions", "session"),
    Call("GET", "/api/v1/sessions/s-1", "session", names_agent=True),
    Call("GET", "/api/v1/terminals?session=s-1", "session"),
    Call("GET", "/api/v1/terminals/agent-1/t-1", "session", names_agent=True),
    Call("DELETE", "/api/v1/sessions/s-2", "session", names_agent=True),
    Call("POST", "/api/v1/sessions/s-3/kill", "session", {"reason": "x"}, optional_body=True),
    Call("POST", "/api/v1/sessions/s-3/revive", "session", {}, optional_body=True),
    Call("GET", "/api/v1/keys", "admin"),
    Call("POST", "/api/v1/keys", "admin", KEY),
    Call("DELETE", "/api/v1/keys/abcdefabcdef", "admin", names_agent=True),
    Call("GET", "/api/v1/audit/entries", "audit"),
    Call("GET", "/api/v1/audit/receipts/e-1", "audit", names_agent=True),
    Call("GET", "/api/v1/audit/checkpoint", "audit"),
    Call("GET", "/api/v1/audit/tile/0/000", "audit"),
    Call("GET", "/api/v1/audit/proof/inclusion?index=0&size=1", "audit"),
    Call("GET", "/api/v1/audit/proof/consistency?from=0&to=1", "audit"),
    Call("GET", "/api/v1/audit/verify", "audit"),
    Call("POST", "/api/v1/audit/verify", "audit", {}, optional_body=True),
    Call("GET", "/api/v1/audit/key", "audit"),
    Call("GET", "/api/v1/audit/checkpoints", "audit"),
    Call("GET", "/api/v1/audit/detached/0", "audit"),
    Call("DELETE", "/api/v1/audit/subjects/agent-1", "admin", names_agent=True),
    Call("POST", "/api/v1/audit/keys/wrapping/rotate", "admin"),
    Call("POST", "/api/v1/audit/keys/signing/rotate", "admin"),
    Call("GET", "/api/v1/deadletters", "admin"),
    Call("GET", "/api/v1/traces", "audit"),
    Call("GET", "/api/v1/traces/e-1", "audit", names_agent=True),
]
NAMES = [f"{call.method} {call.path}" for call in CALLS]
WITH_BODY = [call for call in CALLS if call.body is not None]
BODY_NAMES = [f"{call.method} {call.path}" for call in WITH_BODY]
OTHER_SCOPE = {
    "events": "audit",
    "budget:read": "events",
    "budget:write": "budget:read",
    "session": "budget:write",
    "audit": "session",
    "admin": "audit",
}


@pytest.fixture(scope="module")
async def http(gateway: GatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    async with gateway.client(None) as client:
        yield client


async def send(
    http: httpx.AsyncClient, call: Call, key: str | None, *, content: bytes | None = None, media_type: str | None = None
) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key is not None else {}
    body = content if content is not None else json.dumps(call.body).encode() if call.body is not None else None
    if body is not None:
        headers["content-type"] = media_type or "application/json"
    return await http.request(call.method, call.path, content=body, headers=headers)


def assert_problem(answer: httpx.Response, code: ProblemCode) -> dict[str, Any]:
    assert answer.status_code == STATUS_BY_CODE[code], answer.text
    assert answer.headers["content-type"] == PROBLEM
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == answer.status_code
    assert problem["title"] == TITLE_BY_CODE[code]
    assert problem["type"] == f"urn:hookbus:problem:{code}"
    assert problem["detail"]
    assert problem["trace_id"] == answer.headers["traceparent"][3:35]
    assert_secure(answer)
    return problem


def assert_secure(answer: httpx.Response) -> None:
    for name, value in {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }.items():
        assert answer.headers[name] == value
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["traceparent"].startswith("00-")
    assert "server" not in answer.headers


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
async def test_right_scope(gateway: GatewayProcess, http: httpx.AsyncClient, call: Call) -> None:
    """The control of this table: with the right key each call is served."""
    answer = await send(http, call, gateway.keys[call.scope])
    assert answer.status_code in (200, 201, 202), answer.text
    assert_secure(answer)
    admin = await send(http, call, gateway.keys["admin"])
    assert admin.status_code in (200, 201, 202), admin.text


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
async def test_credentials(gateway: GatewayProcess, http: httpx.AsyncClient, call: Call) -> None:
    """No key, a malformed one, an unknown one, a right id with a wrong secret: 401. A wrong scope: 403."""
    good = gateway.keys[call.scope]
    unknown = f"hbk_zzzzzzzzzzzz_{good[17:]}"
    wrong_secret = good[:17] + good[17:][::-1]
    for key in (None, "nonsense", unknown, wrong_secret, f"{good}x"):
        answer = await send(http, call, key)
        assert_problem(answer, ProblemCode.UNAUTHENTICATED)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert_problem(await send(http, call, gateway.keys[OTHER_SCOPE[call.scope]]), ProblemCode.FORBIDDEN)


async def test_a_key_that_may_only_read_cannot_hold_a_budget(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    """A check is a question; with ``reserve`` it takes from the agent's headroom, which is for writers."""
    reserving = Call("POST", "/api/v1/budget/check", "budget:write", {**CHECK, "reserve": True})
    assert_problem(await send(http, reserving, gateway.keys["budget:read"]), ProblemCode.FORBIDDEN)


@pytest.mark.parametrize("call", WITH_BODY, ids=BODY_NAMES)
async def test_bodies(gateway: GatewayProcess, http: httpx.AsyncClient, call: Call) -> None:
    """Broken JSON, ambiguous JSON, too much, the wrong type."""
    key = gateway.keys[call.scope]
    not_json = [
        b'{"a":',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\\ud800"}',
        b'{"a": 123456789012345678901234567890}',
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b"[" * 100_000,
    ]
    for content in not_json:
        assert_problem(await send(http, call, key, content=content), ProblemCode.NOT_JSON)
    # A hook's body is cut to the size of an event before it is one.
    large = json.dumps({"text": "x" * (9 * 1024 if "/hooks/" in call.path else 300) * 1024}).encode()
    assert_problem(await send(http, call, key, content=large), ProblemCode.TOO_LARGE)
    plain = await send(http, call, key, media_type="text/plain")
    assert_problem(plain, ProblemCode.MEDIA_TYPE_UNSUPPORTED)
    for content in (b"[1]", b'"text"', b"7", b"null", b'{"unknown_field_x": 1}'):
        assert_problem(await send(http, call, key, content=content), ProblemCode.BODY_INVALID)
    if not call.optional_body:
        for content in (b"", b" "):
            assert_problem(await send(http, call, key, content=content), ProblemCode.NOT_JSON)


async def test_agent_names(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    """An identifier is checked to its last character, in bodies and in paths."""
    bad = ["agent\n", "agent ", "a.b", "", "x" * 65, "\u0430gent", "agent*", "agent>", "a\u0000"]
    for call in CALLS:
        key = gateway.keys[call.scope]
        for name in bad:
            if isinstance(call.body, dict) and "agent_id" in call.body:
                content = json.dumps({**call.body, "agent_id": name}).encode()
                if name == "" and "hooks" in call.path:
                    continue  # an absent name is the protocol's default
                assert_problem(await send(http, call, key, content=content), ProblemCode.BODY_INVALID)
    quoted = ["agent%0A", "agent%20", "a%00", "%F0%90", "x" * 200]
    for call in (call for call in CALLS if call.names_agent):
        for name in quoted:
            path = call.path.rsplit("/", 1)[0] + f"/{name}"
            answer = await send(http, call._replace(path=path), gateway.keys[call.scope])
            assert_problem(answer, ProblemCode.BODY_INVALID)


async def test_query_parameters(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    """Bad values of query parameters are 422."""
    headers = {"authorization": f"Bearer {gateway.keys['admin']}"}
    for path in (
        "/api/v1/budget/list?limit=0",
        "/api/v1/budget/list?limit=1001",
        "/api/v1/budget/list?limit=1e999",
        "/api/v1/budget/list?scope=galaxy",
        "/api/v1/sessions?agent_id=agent%0A",
        f"/api/v1/sessions?cursor={'x' * 600}",
        "/api/v1/audit/entries?since=yesterday",
        "/api/v1/audit/entries?since=2026-01-01T00:00:00",
        "/api/v1/audit/proof/inclusion?index=-1&size=1",
        "/api/v1/audit/proof/inclusion?index=99999999999999999999&size=1",
        "/api/v1/audit/proof/inclusion",
        "/api/v1/audit/proof/consistency?from=a&to=1",
    ):
        answer = await http.get(path, headers=headers)
        problem = assert_problem(answer, ProblemCode.BODY_INVALID)
        assert problem["errors"], path


async def test_unknown_paths_and_methods(http: httpx.AsyncClient) -> None:
    for path in ("/", "/nope", "/api/v1", "/api/v1/events/", "/api/v1/budget/status/a/b", "/%0a", "/docs/"):
        assert_problem(await http.get(path), ProblemCode.NOT_FOUND)
    for method, path in (("GET", "/api/v1/events"), ("DELETE", "/livez"), ("PUT", "/api/v1/keys"), ("PATCH", "/docs")):
        answer = await http.request(method, path)
        assert_problem(answer, ProblemCode.METHOD_NOT_ALLOWED)
        assert answer.headers["allow"]


async def test_not_found_comes_from_the_service(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    headers = {"authorization": f"Bearer {gateway.keys['admin']}"}
    for path in (
        "/api/v1/budget/status/nobody",
        "/api/v1/sessions/nobody",
        "/api/v1/audit/receipts/nobody",
        "/api/v1/traces/nobody",
        "/api/v1/deadletters/1",
        "/api/v1/audit/tile/9/000",
    ):
        assert_problem(await http.get(path, headers=headers), ProblemCode.NOT_FOUND)


async def test_an_encoded_body_is_refused(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    """A compressed body could be larger than it looks."""
    headers = {
        "authorization": f"Bearer {gateway.keys['events']}",
        "content-type": "application/json",
        "content-encoding": "gzip",
    }
    answer = await http.post("/api/v1/events", content=b"\x1f\x8b", headers=headers)
    assert_problem(answer, ProblemCode.MEDIA_TYPE_UNSUPPORTED)


async def test_caps_hold_while_a_body_streams_in(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    """Without a Content-Length nothing but counting bounds the body."""
    sent = 0

    async def endless(start: bytes) -> AsyncIterator[bytes]:
        nonlocal sent
        yield start
        while True:
            sent += 65_536
            yield b" " * 65_536

    headers = {"authorization": f"Bearer {gateway.keys['events']}", "content-type": "application/json"}
    for start, cap in ((b"{", 256 * 1024), (b" [", 8 * 1024 * 1024)):
        sent = 0
        try:
            answer = await http.post("/api/v1/events", content=endless(start), headers=headers)
            assert_problem(answer, ProblemCode.TOO_LARGE)
        except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
            pass  # the connection was closed while this side still wrote
        assert sent < cap + 32 * 1024 * 1024


async def test_errors_never_echo_a_value(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    """A secret put into the wrong field does not come back."""
    secret = f"sk-{uuid.uuid4().hex}"
    headers = {"authorization": f"Bearer {gateway.keys['admin']}"}
    for path, body in (
        ("/api/v1/events", {"kind": secret, "agent_id": f"{secret}!", "id": f"{secret} "}),
        ("/api/v1/budget/check", {"agent_id": f"{secret}!", "estimated_tokens": secret}),
        ("/api/v1/keys", {"name": "x", "scopes": [secret]}),
    ):
        answer = await http.post(path, json=body, headers=headers)
        problem = assert_problem(answer, ProblemCode.BODY_INVALID)
        assert problem["errors"]
        assert secret not in answer.text
    assert secret not in gateway.log()


async def test_money_is_exact(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    """Numbers and strings both arrive as the decimal that was written; seven places are refused."""
    headers = {"authorization": f"Bearer {gateway.keys['admin']}", "content-type": "application/json"}
    for text in ("0.1", '"0.1"', "0.100000"):
        key = uuid.uuid4().hex
        content = f'{{"agent_id": "a", "tokens_used": 1, "cost": {text}, "idempotency_key": "{key}"}}'
        answer = await http.post("/api/v1/budget/deduct", content=content, headers=headers)
        assert answer.status_code == 200, answer.text
        assert float(answer.json()["deducted"]["usd"]) == 0.1
        assert isinstance(answer.json()["deducted"]["usd"], str)
    for text in ("0.0000001", "0.10000000000000000001", "101", "-0.1", '"NaN"', "1e400", '"1e-400"', "true"):
        content = f'{{"agent_id": "a", "tokens_used": 1, "cost": {text}, "idempotency_key": "k"}}'
        answer = await http.post("/api/v1/budget/deduct", content=content, headers=headers)
        assert_problem(answer, ProblemCode.BODY_INVALID)


async def test_one_idempotency_key_two_bodies(gateway: GatewayProcess, http: httpx.AsyncClient) -> None:
    headers = {"authorization": f"Bearer {gateway.keys['admin']}"}
    body = {"agent_id": "a", "tokens_used": 1, "cost": "0", "idempotency_key": uuid.uuid4().hex}
    assert (await http.post("/api/v1/budget/deduct", json=body, headers=headers)).status_code == 200
    answer = await http.post("/api/v1/budget/deduct", json={**body, "tokens_used": 2}, headers=headers)
    assert_problem(answer, ProblemCode.IDEMPOTENCY_CONFLICT)
