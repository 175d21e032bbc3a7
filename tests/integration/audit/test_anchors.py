"""Anchors outside the attacker's reach: a file, witnesses; with them even superuser and key cannot rewrite unseen."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import asyncpg
import pytest
from support.audit import WAIT_S, AuditStack, audit_stack
from support.events import hook_event
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit import outreach
from hookbus.audit.note import SignedNote, VerifierKey
from hookbus.audit.witness.domain import RefusedError
from hookbus.audit.witness.keeper import Keeper
from hookbus.contracts import audit as wire
from hookbus.contracts.anchors import AnchorKind, AnchorsReply, AnchorsRequest, AnchorView


@dataclass
class WitnessServer:
    """A witness whose logs are named once they are known; it also keeps whatever is posted to ``/anchor``."""

    folder: Path
    address: str = ""
    keeper: Keeper | None = None
    anchored: list[str] | None = None

    def watch(self, key: VerifierKey) -> None:
        self.keeper = Keeper(self.folder, "witness.example", [key])


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessServer]:
    server = WitnessServer(tmp_path / "witness", anchored=[])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            assert server.anchored is not None
            status, answer = 200, ""
            if self.path == "/anchor":
                server.anchored.append(body)
            elif server.keeper is None:
                status = 404
            else:
                try:
                    answer = server.keeper.add_checkpoint(body, 1_790_000_000)
                except RefusedError as error:
                    status, answer = error.status, f"{error.size}\n" if error.size is not None else error.text
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            """Nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.address = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    # The key exists before any log is watched: the log is configured with it.
    server.watch(VerifierKey("nobody", bytes(32)))
    yield server
    http.shutdown()
    thread.join()


async def cosigned(stack: AuditStack, key: VerifierKey) -> wire.CheckpointReply:
    """The newest checkpoint, once the witness has cosigned it."""
    async with asyncio.timeout(WAIT_S + 15):
        while True:
            reply = await stack.signed()
            if any(line.name == key.name for line in SignedNote.parse(reply.note).signatures):
                return reply
            await asyncio.sleep(0.1)


async def test_every_checkpoint_reaches_the_anchors_and_shows_the_cosignature(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path, witness: WitnessServer
):
    assert witness.keeper is not None
    key = witness.keeper.verifier_key
    anchor = tmp_path / "elsewhere.jsonl"
    async with audit_stack(
        nats_server,
        empty_log,
        tmp_path,
        audit_anchor_file=anchor,
        audit_anchor_url=f"{witness.address}/anchor",
        audit_witnesses=(f"{witness.address} {key.text}",),
    ) as stack:
        log_key = VerifierKey.parse((await stack.signed()).verifier_key)
        witness.watch(log_key)
        await stack.published([hook_event() for _ in range(20)])
        reply = await cosigned(stack, key)
        signed = SignedNote.parse(reply.note)
        assert set(signed.verified_by([key])) == {key}
        assert witness.keeper.last(log_key.name) is not None
        sizes = [json.loads(line)["size"] for line in anchor.read_text().splitlines()]
        assert sizes[-1] == reply.size
        assert witness.anchored
        assert (await stack.verify()).ok
        # A receipt carries the cosignature along.
        receipt = await stack.rpc.call(
            "audit",
            "receipt",
            wire.ReceiptRequest(event_id=(await first_event(stack))),
            wire.ReceiptReply,
            timeout_s=5.0,
        )
        assert "witness.example" in receipt.tlog_proof


async def test_each_anchor_is_told_of_with_its_trouble_and_keeps_no_other_waiting(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An address where nobody listens: its fault is shown, without what may be secret in it; the file goes on, however
    long the address is left alone."""
    monkeypatch.setattr(outreach, "RETRY_S", 10 * WAIT_S)
    anchor = tmp_path / "elsewhere.jsonl"
    login = "name:hidden"
    dead = {"audit_anchor_url": f"http://{login}@127.0.0.1:9/secret"}
    async with audit_stack(nats_server, empty_log, tmp_path, audit_anchor_file=anchor, **dead) as stack:
        address = await told(stack, AnchorKind.ADDRESS, lambda one: one.fault is not None)
        assert (address.name, address.size, address.reached_at) == ("http://127.0.0.1:9", 0, None)
        assert "hidden" not in str(address)
        assert "secret" not in str(address)
        for _ in range(2):
            await stack.published([hook_event()])
            size = (await stack.signed()).size
            file = await told(stack, AnchorKind.FILE, lambda one, size=size: one.size >= size)
            assert (file.name, file.fault) == (str(anchor), None)
        still = await told(stack, AnchorKind.ADDRESS, lambda one: one.fault is not None)
        assert still.fault_at == address.fault_at, "since the first time"
    async with audit_stack(nats_server, empty_log, tmp_path, audit_anchor_file=anchor) as stack:
        await stack.published([hook_event()])
        await told(stack, AnchorKind.FILE, lambda one: one.lag_entries == 0)
        assert [one.kind for one in (await anchors(stack)).anchors] == [AnchorKind.FILE], "what is not set is forgotten"


async def anchors(stack: AuditStack) -> AnchorsReply:
    return await stack.rpc.call("audit", "anchors", AnchorsRequest(), AnchorsReply)


async def told(stack: AuditStack, kind: AnchorKind, wanted: Callable[[AnchorView], bool]) -> AnchorView:
    """The anchor of a kind, once it is as wanted."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for one in (await anchors(stack)).anchors:
                if one.kind is kind and wanted(one):
                    return one
            await asyncio.sleep(0.1)


async def first_event(stack: AuditStack) -> str:
    return str(await stack.superuser.fetchval("SELECT event_id FROM audit.stored_events WHERE stream = 1 LIMIT 1"))


async def test_superuser_with_the_signers_files_is_caught_by_the_anchor(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    anchor = tmp_path / "elsewhere.jsonl"
    async with audit_stack(nats_server, empty_log, tmp_path, audit_anchor_file=anchor) as stack:
        await stack.published([hook_event() for _ in range(5)])
        old = await stack.signed()
        state = await stack.superuser.fetchrow("SELECT size, frontier FROM audit.log_state")
        memory = (tmp_path / "signing.pem.last").read_bytes()
        await stack.published([hook_event() for _ in range(5)])
        late = await stack.signed()
        async with asyncio.timeout(WAIT_S):
            while f'"size":{late.size},' not in anchor.read_text():
                await asyncio.sleep(0.05)
    assert state is not None
    superuser = await asyncpg.connect(empty_log.superuser_url)
    # Taken back to the old checkpoint everywhere: database, and the signer's own memory.
    for statement in (
        f"DELETE FROM audit.stored_events WHERE index >= {old.size}",
        f"DELETE FROM audit.entry_lookup WHERE index >= {old.size}",
        f"DELETE FROM audit.checkpoints WHERE size > {old.size}",
    ):
        await superuser.execute(statement)
    await superuser.execute(
        "UPDATE audit.log_state SET size = $1, frontier = $2, latest_note = $3",
        state["size"],
        state["frontier"],
        old.note,
    )
    await superuser.close()
    (tmp_path / "signing.pem.last").write_bytes(memory)
    async with audit_stack(nats_server, empty_log, tmp_path) as control:
        # Without the anchor the rewritten past passes: this is what the anchor is for.
        assert (await control.verify()).ok
    async with audit_stack(nats_server, empty_log, tmp_path, audit_anchor_file=anchor) as stack:
        verdict = await stack.verify()
        assert not verdict.ok
        assert "signed checkpoint" in str(verdict.fault)
