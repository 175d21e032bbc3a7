"""A gateway process on a real bus, and small responders that speak for the services behind it."""

import asyncio
import hashlib
import os
import secrets
import signal
import string
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import httpx
from pydantic import JsonValue

from hookbus.contracts import audit, budget, session, subjects, traces
from hookbus.contracts.fields import WireModel
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import ApiKeyRecord, KeyScope
from hookbus.embedded.ports import free_ports
from hookbus.platform.bus.connection import Broker, jetstream
from hookbus.platform.bus.rpc import RpcServer
from support.agent_peers import serve_agents
from support.bus import new_broker, started
from support.people_peers import serve_people
from support.servers import NatsFixture
from support.terminal_peers import serve_terminals

START_TIMEOUT_S = 120
"""Generous: a busy machine takes its time to import."""
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

AGENT_BROKE = "broke"
AGENT_ASKED = "asked"


def new_api_key(*scopes: KeyScope, expires_at: datetime | None = None) -> tuple[str, ApiKeyRecord]:
    key_id = "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(12))
    text = f"hbk_{key_id}_{secrets.token_urlsafe(32)}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    record = ApiKeyRecord(
        key_id=key_id, name="test", secret_sha256=digest, scopes=frozenset(scopes), expires_at=expires_at
    )
    return text, record


def _remaining(agent_id: str) -> tuple[budget.Remaining, ...]:
    return (
        budget.Remaining(
            scope=budget.ScopeKind.AGENT,
            name=agent_id,
            unit=budget.Unit.USD,
            window=budget.Window.HOUR,
            amount=Decimal("1.5"),
            spent=Decimal("0.25"),
            held=Decimal(0),
            remaining=Decimal("1.25"),
            resets_at=NOW + timedelta(hours=1),
        ),
    )


@dataclass
class Peers:
    """Responders over the contracts. What they were asked is kept in ``asked`` by method."""

    brokers: list[Broker] = field(default_factory=list[Broker])
    asked: dict[str, list[WireModel]] = field(default_factory=dict[str, list[WireModel]])
    killed: set[str] = field(default_factory=set[str])
    risky: set[str] = field(default_factory=set[str])
    known_keys: dict[str, ApiKeyRecord] = field(default_factory=dict[str, ApiKeyRecord])
    delay_s: float = 0.0

    def last(self, method: str) -> WireModel:
        return self.asked[method][-1]

    def _note(self, method: str, request: WireModel) -> None:
        self.asked.setdefault(method, []).append(request)

    def serve_budget(self, broker: Broker) -> None:  # noqa: C901 - one small responder for each method
        server = RpcServer(broker, "budget")

        async def init(request: budget.InitRequest) -> budget.InitReply:
            created = not any(
                isinstance(old, budget.InitRequest) and old.agent_id == request.agent_id
                for old in self.asked.get("init", [])
            )
            self._note("init", request)
            return budget.InitReply(created=created, agent_id=request.agent_id, remaining=_remaining(request.agent_id))

        async def check(request: budget.ReserveRequest) -> budget.ReserveReply:
            self._note("check", request)
            await asyncio.sleep(self.delay_s)
            allowed = request.agent_id not in (AGENT_BROKE, AGENT_ASKED)
            return budget.ReserveReply(
                allowed=allowed,
                reason="within the limits" if allowed else "the hour's tokens are spent",
                code="ok" if allowed else "tokens_exhausted",
                agent_id=request.agent_id,
                remaining=_remaining(request.agent_id),
                reservation=f"rsv-{request.event_id}" if allowed and request.reserve else None,
                mode=budget.Mode.ASK if request.agent_id == AGENT_ASKED else budget.Mode.BLOCK,
            )

        async def deduct(request: budget.DeductRequest) -> budget.DeductReply:
            if any(
                isinstance(old, budget.DeductRequest)
                and old.idempotency_key == request.idempotency_key
                and old != request
                for old in self.asked.get("deduct", [])
            ):
                raise ProblemError(ProblemCode.IDEMPOTENCY_CONFLICT, "the key was used with another body")
            self._note("deduct", request)
            deducted = budget.Deducted(tokens=request.tokens_used or 0, usd=request.cost or Decimal(0))
            return budget.DeductReply(deducted=deducted, remaining=_remaining(request.agent_id), duplicate=False)

        async def release(request: budget.ReleaseRequest) -> budget.ReleaseReply:
            self._note("release", request)
            return budget.ReleaseReply(released=True)

        async def status(request: budget.ScopeRequest) -> budget.StatusReply:
            self._note("status", request)
            if request.name.startswith("nobody"):
                raise ProblemError(ProblemCode.NOT_FOUND, "no such account")
            return budget.StatusReply(
                scope=request.scope, name=request.name, remaining=_remaining(request.name), holds=0
            )

        async def reset(request: budget.ResetRequest) -> budget.StatusReply:
            self._note("reset", request)
            return await status(budget.ScopeRequest(scope=request.scope, name=request.name))

        async def scope_init(request: budget.ScopeInitRequest) -> budget.StatusReply:
            self._note("scope_init", request)
            return await status(budget.ScopeRequest(scope=request.scope, name=request.name))

        async def list_accounts(request: budget.ListRequest) -> budget.ListReply:
            self._note("budget.list", request)
            return budget.ListReply(accounts=())

        async def history(request: budget.HistoryRequest) -> budget.HistoryReply:
            self._note("history", request)
            return budget.HistoryReply(entries=())

        server.method("init", budget.InitRequest, init)
        server.method("check", budget.ReserveRequest, check)
        server.method("deduct", budget.DeductRequest, deduct)
        server.method("release", budget.ReleaseRequest, release)
        server.method("status", budget.ScopeRequest, status)
        server.method("reset", budget.ResetRequest, reset)
        server.method("scope_init", budget.ScopeInitRequest, scope_init)
        server.method("list", budget.ListRequest, list_accounts)
        server.method("history", budget.HistoryRequest, history)
        self.brokers.append(broker)

    def serve_session(self, broker: Broker) -> None:  # noqa: C901 - one small responder for each method
        server = RpcServer(broker, "session")

        async def assess(request: session.AssessRequest) -> session.AssessReply:
            self._note("assess", request)
            if request.session in self.killed:
                return session.AssessReply(
                    decision="deny", code="session_terminated", reason="killed by a test", risk=1.0
                )
            if request.session in self.risky:
                return session.AssessReply(decision="ask", code="session_risk", reason="another host", risk=0.75)
            return session.AssessReply(decision="allow", code="ok", reason="no objection", risk=0.02)

        def view(request: session.SessionRequest) -> session.SessionView:
            if request.id.startswith("nobody"):
                raise ProblemError(ProblemCode.NOT_FOUND, "no such session")
            killed = request.id in self.killed
            return session.SessionView.model_validate(
                {
                    "id": request.id,
                    "agent_id": "agent-1",
                    "state": "killed" if killed else "active",
                    "risk": 0.02,
                    "baseline": {},
                    "opened_at": NOW,
                    "last_seen_at": NOW,
                    "events": 1,
                }
            )

        async def show(request: session.SessionRequest) -> session.SessionView:
            return view(request)

        async def kill(request: session.SessionRequest) -> session.SessionView:
            self._note("kill", request)
            self.killed.add(request.id)
            return view(request)

        async def revive(request: session.SessionRequest) -> session.SessionView:
            self._note("revive", request)
            self.killed.discard(request.id)
            return view(request)

        async def list_sessions(request: session.SessionListRequest) -> session.SessionListReply:
            self._note("session.list", request)
            return session.SessionListReply(sessions=())

        async def key_list(_request: session.KeyListRequest) -> session.KeyListReply:
            return session.KeyListReply(keys=())

        def key_view(key_id: str, name: str, scopes: frozenset[KeyScope]) -> session.KeyView:
            return session.KeyView(key_id=key_id, name=name, scopes=tuple(sorted(scopes)), created_at=NOW)

        async def key_create(request: session.KeyCreateRequest) -> session.KeyCreateReply:
            self._note("key_create", request)
            text, record = new_api_key(*request.scopes)
            return session.KeyCreateReply(key=key_view(record.key_id, request.name, request.scopes), api_key=text)

        async def key_revoke(request: session.KeyRevokeRequest) -> session.KeyView:
            self._note("key_revoke", request)
            return key_view(request.key_id, "gone", frozenset({KeyScope.EVENTS}))

        async def key_lookup(request: session.KeyLookupRequest) -> ApiKeyRecord:
            self._note("key_lookup", request)
            if request.key_id not in self.known_keys:
                raise ProblemError(ProblemCode.NOT_FOUND, "no such key")
            return self.known_keys[request.key_id]

        server.method("assess", session.AssessRequest, assess)
        server.method("show", session.SessionRequest, show)
        server.method("kill", session.SessionRequest, kill)
        server.method("revive", session.SessionRequest, revive)
        server.method("list", session.SessionListRequest, list_sessions)
        server.method("key_list", session.KeyListRequest, key_list)
        server.method("key_create", session.KeyCreateRequest, key_create)
        server.method("key_revoke", session.KeyRevokeRequest, key_revoke)
        server.method("key_lookup", session.KeyLookupRequest, key_lookup)
        serve_people(server)
        serve_agents(server)
        serve_terminals(server)
        self.brokers.append(broker)

    @staticmethod
    def _serve_audit_keys(server: RpcServer) -> None:
        async def checkpoints(_request: audit.CheckpointsRequest) -> audit.CheckpointsReply:
            return audit.CheckpointsReply(notes=("hookbus\n1\nAAAA\n\n- signature\n",))

        async def detached(_request: audit.DetachedRequest) -> audit.DetachedReply:
            return audit.DetachedReply(body="AAECAw==")

        async def erase(_request: audit.EraseRequest) -> audit.EraseReply:
            return audit.EraseReply(keys=1, entries=2)

        async def rotate_wrapping(_request: audit.RotateWrappingRequest) -> audit.RotateWrappingReply:
            return audit.RotateWrappingReply(keys=1)

        async def rotate_signing(_request: audit.RotateRequest) -> audit.RotateSigningReply:
            return audit.RotateSigningReply(note="hookbus.audit/handover/v1\n\n- signature\n")

        server.method("checkpoints", audit.CheckpointsRequest, checkpoints)
        server.method("detached", audit.DetachedRequest, detached)
        server.method("erase", audit.EraseRequest, erase)
        server.method("rotate_wrapping", audit.RotateWrappingRequest, rotate_wrapping)
        server.method("rotate_signing", audit.RotateRequest, rotate_signing)

    def serve_audit(self, broker: Broker) -> None:
        server = RpcServer(broker, "audit")

        async def entries(request: audit.EntriesRequest) -> audit.EntriesReply:
            self._note("entries", request)
            event: dict[str, JsonValue] = {"id": "e-1"}
            entry = audit.Entry(index=0, event_id="e-1", time=NOW, leaf_hash="00" * 32, event=event)
            return audit.EntriesReply(entries=(entry,))

        async def checkpoint(_request: audit.CheckpointRequest) -> audit.CheckpointReply:
            return audit.CheckpointReply(note="hookbus\n1\nAAAA\n\n- signature\n", size=1, root_hash="00" * 32)

        async def proof(request: WireModel) -> audit.ProofReply:
            self._note("proof", request)
            return audit.ProofReply(hashes=("00" * 32,))

        async def receipt(request: audit.ReceiptRequest) -> audit.ReceiptReply:
            if request.event_id.startswith("nobody"):
                raise ProblemError(ProblemCode.NOT_FOUND, "no such event in the log")
            return audit.ReceiptReply(
                event_id=request.event_id, index=0, leaf_hash="00" * 32, record="AAAA", proof=(), checkpoint="c"
            )

        async def tile(request: audit.TileRequest) -> audit.TileReply:
            self._note("tile", request)
            if not request.path.startswith("0/"):
                raise ProblemError(ProblemCode.NOT_FOUND, "no such tile")
            return audit.TileReply(body="AAECAw==", complete=True)

        async def verify(request: audit.VerifyRequest) -> audit.VerifyReply:
            self._note("verify", request)
            return audit.VerifyReply(ok=True, size=1, root_hash="00" * 32, checked=1)

        self._serve_audit_keys(server)
        server.method("entries", audit.EntriesRequest, entries)
        server.method("checkpoint", audit.CheckpointRequest, checkpoint)
        server.method("inclusion", audit.InclusionRequest, proof)
        server.method("consistency", audit.ConsistencyRequest, proof)
        server.method("receipt", audit.ReceiptRequest, receipt)
        server.method("tile", audit.TileRequest, tile)
        server.method("verify", audit.VerifyRequest, verify)
        self.brokers.append(broker)

    def serve_traces(self, broker: Broker) -> None:
        server = RpcServer(broker, "traces")

        async def get(request: traces.TraceRequest) -> traces.TraceReply:
            self._note("traces.get", request)
            if request.trace_id is not None or (request.event_id or "").startswith("nobody"):
                raise ProblemError(ProblemCode.NOT_FOUND, "no such trace")
            return traces.TraceReply(trace_id="0" * 31 + "1", spans=())

        async def list_traces(_request: traces.TraceListRequest) -> traces.TraceListReply:
            return traces.TraceListReply(traces=())

        server.method("get", traces.TraceRequest, get)
        server.method("list", traces.TraceListRequest, list_traces)
        self.brokers.append(broker)


@dataclass
class GatewayProcess:
    """``python -m hookbus.gateway`` on a free port."""

    nats: NatsFixture
    peers: Peers
    url: str
    process: subprocess.Popen[bytes]
    log_file: Path
    keys: dict[str, str] = field(default_factory=dict[str, str])

    def client(self, key: str | None = "admin", *, timeout_s: float = 20) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.keys.get(key, key)}"} if key is not None else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=timeout_s)

    async def put_key(self, record: ApiKeyRecord) -> None:
        """As the session service does."""
        broker = new_broker(self.nats, "session")
        await broker.connect()
        try:
            bucket = await jetstream(broker).key_value(subjects.BUCKET_API_KEYS)
            await bucket.put(record.key_id, record.model_dump_json().encode())
        finally:
            await broker.stop()

    async def delete_key(self, key_id: str) -> None:
        broker = new_broker(self.nats, "session")
        await broker.connect()
        try:
            bucket = await jetstream(broker).key_value(subjects.BUCKET_API_KEYS)
            await bucket.delete(key_id)
        finally:
            await broker.stop()

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")


SCOPED_KEYS = {
    "admin": (KeyScope.ADMIN,),
    "events": (KeyScope.EVENTS,),
    "budget:read": (KeyScope.BUDGET_READ,),
    "budget:write": (KeyScope.BUDGET_WRITE,),
    "session": (KeyScope.SESSION,),
    "audit": (KeyScope.AUDIT,),
}


@asynccontextmanager
async def gateway_process(
    nats: NatsFixture, folder: Path, environment: dict[str, str] | None = None
) -> AsyncGenerator[GatewayProcess]:
    """The gateway with every peer, ready."""
    peers = Peers()
    serve: dict[str, Callable[[Broker], None]] = {
        "budget": peers.serve_budget,
        "session": peers.serve_session,
        "audit": peers.serve_audit,
        "traces": peers.serve_traces,
    }
    for name, declare in serve.items():
        declare(new_broker(nats, name))
    async with started(*peers.brokers):
        (port,) = free_ports(1)
        folder.mkdir(parents=True, exist_ok=True)
        log_file = folder / "gateway.log"
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hookbus.gateway"],
                env={
                    **os.environ,
                    **nats.environment("gateway"),
                    "HOOKBUS_HTTP_PORT": str(port),
                    **(environment or {}),
                },
                stderr=log,
                stdout=log,
            )
        gateway = GatewayProcess(nats, peers, f"http://127.0.0.1:{port}", process, log_file)
        try:
            for name, scopes in SCOPED_KEYS.items():
                text, record = new_api_key(*scopes)
                gateway.keys[name] = text
                await gateway.put_key(record)
            await _ready(gateway)
            yield gateway
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.to_thread(process.wait, 15)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)


async def _ready(gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    async with gateway.client(None, timeout_s=3) as client:
        while True:
            with suppress(httpx.HTTPError):
                answer = await client.get("/readyz")
                if answer.status_code == 200:
                    return
            if gateway.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(gateway.log()[-4_000:])
            await asyncio.sleep(0.1)
