"""The audit service on a real bus and a real database: what goes in comes out, once, with proofs."""

import base64
import json
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from support.audit import AuditStack, audit_stack
from support.events import hook_event, unique
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.note import VerifierKey, open_checkpoint
from hookbus.audit.record import HEADER_BYTES, INLINE_BYTES_MAX
from hookbus.audit.tree import leaf_hash, root_of, verify_consistency, verify_inclusion
from hookbus.contracts import audit as wire
from hookbus.contracts.events import Event, Kind, type_of_security
from hookbus.contracts.problems import ProblemCode, ProblemError


def security_event(event_id: str, agent_id: str = "agent") -> Event:
    return hook_event(agent_id=agent_id, event_id=event_id).model_copy(
        update={"type": type_of_security("session_risk")}
    )


async def test_every_event_is_in_the_log_once_and_reads_back_as_it_was_published(stack: AuditStack):
    agent = unique("agent")
    events = [hook_event(Kind.POST_EDIT, agent_id=agent, data={"n": n}) for n in range(600)]
    await stack.published(events)
    reply = await stack.rpc.call(
        "audit", "entries", wire.EntriesRequest(agent=agent, page_items_max=1_000), wire.EntriesReply
    )
    assert [entry.event for entry in reply.entries] == [json.loads(event.to_wire()) for event in events]
    assert reply.cursor is None
    assert [entry.index for entry in reply.entries] == sorted(entry.index for entry in reply.entries)


async def test_a_duplicate_changes_nothing(stack: AuditStack):
    event = hook_event(agent_id=unique("agent"))
    await stack.published([event])
    size = await stack.size()
    # A second copy under another message id is what a retry after the bus's duplicate window looks like.
    for _ in range(3):
        await stack.gateway.connection.jetstream().publish(f"hooks.pre-task.{event.subject}", event.to_wire())
    marker = hook_event(agent_id=event.subject)
    await stack.published([marker])
    assert await stack.size() == size + 1
    assert (await stack.verify()).ok


async def test_a_hook_cannot_take_the_id_of_a_security_event(stack: AuditStack):
    event_id = unique("event")
    await stack.published([hook_event(event_id=event_id)])
    before = await stack.size()
    await stack.publish([security_event(event_id)])
    await stack.published([security_event(unique("event"))])
    assert await stack.size() == before + 2


async def test_nothing_of_an_event_lies_in_clear(stack: AuditStack):
    secret = unique("geheim")
    agent = unique("agent")
    await stack.published([hook_event(agent_id=agent, session=secret, data={"prompt": secret})])
    for table in ("stored_events", "entry_lookup", "data_keys", "log_state"):
        text = await stack.superuser.fetchval(f"SELECT string_agg(t::text, ' ') FROM audit.{table} t")
        for word in (secret, agent):
            assert word not in text
            assert word.encode().hex() not in text


async def test_the_role_of_the_service_can_neither_change_nor_delete_entries(stack: AuditStack):
    await stack.published([hook_event()])
    connection = await asyncpg.connect(stack.postgres.database_url("audit"))
    try:
        for table in ("stored_events", "tiles", "checkpoints"):
            for statement in (f"DELETE FROM audit.{table}", f"TRUNCATE audit.{table}", f"DROP TABLE audit.{table}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        for statement in (
            "UPDATE audit.stored_events SET record = ''",
            "UPDATE audit.checkpoints SET note = ''",
            "UPDATE audit.log_state SET log_id = ''",
            "DELETE FROM audit.log_state",
            "DELETE FROM audit.entry_lookup",
            "UPDATE audit.entry_lookup SET event_id = 'x'",
            "CREATE TABLE audit.own (n int)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


async def test_a_receipt_proves_an_event_offline(stack: AuditStack):
    events = [hook_event() for _ in range(300)]
    await stack.published(events)
    key = VerifierKey.parse((await stack.signed()).verifier_key)
    for event in (events[0], events[150], events[-1]):
        receipt = await stack.rpc.call(
            "audit", "receipt", wire.ReceiptRequest(event_id=event.id), wire.ReceiptReply, timeout_s=5.0
        )
        checkpoint = open_checkpoint(receipt.checkpoint, key.name, [key]).checkpoint
        leaf = leaf_hash(base64.b64decode(receipt.record))
        assert leaf.hex() == receipt.leaf_hash
        verify_inclusion(
            leaf=leaf,
            index=receipt.index,
            size=checkpoint.size,
            proof=[bytes.fromhex(item) for item in receipt.proof],
            root=checkpoint.root,
        )


async def test_checkpoints_of_different_days_are_consistent(stack: AuditStack):
    seen: list[wire.CheckpointReply] = []
    for count in (1, 3, 300):
        await stack.published([hook_event() for _ in range(count)])
        seen.append(await stack.signed())
    assert [reply.size for reply in seen] == sorted({reply.size for reply in seen})
    for earlier, later in pairwise(seen):
        proof = await stack.rpc.call(
            "audit",
            "consistency",
            wire.ConsistencyRequest(from_size=earlier.size, to_size=later.size),
            wire.ProofReply,
        )
        verify_consistency(
            from_size=earlier.size,
            to_size=later.size,
            from_root=bytes.fromhex(earlier.root_hash),
            to_root=bytes.fromhex(later.root_hash),
            proof=[bytes.fromhex(item) for item in proof.hashes],
        )


async def test_tiles_and_bundles_lead_to_the_published_root(stack: AuditStack):
    await stack.published([hook_event() for _ in range(520)])
    signed = await stack.signed()
    tiles = [f"0/{number:03d}" for number in range(signed.size // 256)]
    if signed.size % 256:
        tiles.append(f"0/{signed.size // 256:03d}.p/{signed.size % 256}")
    leaves: list[bytes] = []
    for path in tiles:
        tile = await stack.rpc.call("audit", "tile", wire.TileRequest(path=path), wire.TileReply)
        hashes = base64.b64decode(tile.body)
        bundle = await stack.rpc.call(
            "audit", "tile", wire.TileRequest(path=path.replace("0/", "entries/", 1)), wire.TileReply
        )
        body = base64.b64decode(bundle.body)
        assert tile.complete == bundle.complete == (".p/" not in path)
        at = 0
        for place in range(0, len(hashes), 32):
            length = int.from_bytes(body[at : at + 2])
            record = body[at + 2 : at + 2 + length]
            at += 2 + length
            leaves.append(leaf_hash(record))
            assert leaves[-1] == hashes[place : place + 32]
        assert at == len(body)
    assert root_of(leaves).hex() == signed.root_hash
    with pytest.raises(ProblemError) as caught:
        await stack.rpc.call("audit", "tile", wire.TileRequest(path="0/999"), wire.TileReply)
    assert caught.value.problem.code is ProblemCode.NOT_FOUND


async def test_an_event_too_large_for_a_bundle_is_kept_beside_its_record(stack: AuditStack):
    event = hook_event(agent_id=unique("agent"), data={"text": "x" * 200_000})
    assert len(event.to_wire()) > INLINE_BYTES_MAX
    await stack.published([event])
    row = await stack.superuser.fetchrow("SELECT * FROM audit.stored_events WHERE event_id = $1", event.id)
    assert row is not None
    assert len(row["record"]) < 300
    assert len(row["detached"]) > 200_000
    reply = await stack.rpc.call("audit", "entries", wire.EntriesRequest(agent=event.subject), wire.EntriesReply)
    assert reply.entries[0].event == json.loads(event.to_wire())
    assert (await stack.verify()).ok
    changed = bytearray(row["detached"])
    changed[1_000] ^= 1
    await stack.superuser.execute(
        "UPDATE audit.stored_events SET detached = $1 WHERE index = $2", bytes(changed), row["index"]
    )
    verdict = await stack.verify(decrypt=False)
    assert (verdict.ok, verdict.first_bad_index) == (False, row["index"])


async def test_the_log_goes_on_where_it_stood_after_a_restart(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    async with audit_stack(nats_server, empty_log, tmp_path) as first:
        await first.published([hook_event() for _ in range(700)])
        before = await first.signed()
    async with audit_stack(nats_server, empty_log, tmp_path) as second:
        await second.published([hook_event() for _ in range(3)])
        assert await second.size() == before.size + 3
        assert (await second.verify(checkpoint=before.note)).ok


async def test_headers_differ_and_no_nonce_repeats(stack: AuditStack):
    await stack.published([hook_event() for _ in range(400)])
    rows = await stack.superuser.fetch("SELECT record FROM audit.stored_events")
    nonces = {row["record"][HEADER_BYTES : HEADER_BYTES + 12] for row in rows}
    assert len(nonces) == len(rows)


@pytest.mark.parametrize(
    "path", ["", "0/1", "0/0001", "x/000", "0/000.p/0", "0/000.p/256", "00/000", "entries/x1/000", "64/000"]
)
async def test_a_path_that_is_no_tile_is_not_found(stack: AuditStack, path: str):
    with pytest.raises(ProblemError) as caught:
        await stack.rpc.call("audit", "tile", wire.TileRequest(path=path), wire.TileReply)
    assert caught.value.problem.code is ProblemCode.NOT_FOUND
