"""Retention: whole partitions go, on the record; proofs above the cut hold, and what goes without a record is found."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from support.audit import AuditStack, audit_stack
from support.events import hook_event, unique
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.note import VerifierKey
from hookbus.audit.receipt import check_receipt
from hookbus.audit.tree import leaf_hash, verify_consistency, verify_inclusion
from hookbus.contracts import audit as wire
from hookbus.contracts.problems import ProblemCode, ProblemError

WIDTH = 256
"""Entries in a partition: one tile."""


@pytest.fixture
async def log(nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path) -> AsyncIterator[AuditStack]:
    """Three full partitions and a part of the next."""
    async with audit_stack(nats_server, empty_log, tmp_path, audit_partition_entries=WIDTH) as stack:
        agent = unique("agent")
        await stack.published([hook_event(agent_id=agent) for _ in range(3 * WIDTH + 20)])
        await stack.signed()
        yield stack


async def prune(stack: AuditStack, **asked: object) -> wire.PruneReply:
    request = wire.PruneRequest.model_validate({"actor": "tester", "reason": "old", **asked})
    return await stack.rpc.call("audit", "prune", request, wire.PruneReply, timeout_s=60.0)


async def indexes(stack: AuditStack) -> tuple[int, int]:
    row = await stack.superuser.fetchrow("SELECT min(index) AS first, max(index) AS last FROM audit.stored_events")
    assert row is not None
    return row["first"], row["last"]


async def event_at(stack: AuditStack, index: int) -> str:
    return str(await stack.superuser.fetchval("SELECT event_id FROM audit.entry_lookup WHERE index = $1", index))


async def test_whole_partitions_go_and_every_proof_above_the_cut_holds(log: AuditStack):
    before = await log.signed()
    kept = await event_at(log, 2 * WIDTH + 3)
    dry = await prune(log, below=2 * WIDTH + 10, dry_run=True)
    assert (dry.first, dry.cut, dry.partitions) == (0, 2 * WIDTH, 2)
    assert await indexes(log) == (0, before.size - 1)
    done = await prune(log, below=2 * WIDTH + 10)
    assert (done.cut, done.entries, done.pending, done.more) == (2 * WIDTH, 2 * WIDTH, 0, False)
    assert (await indexes(log))[0] == 2 * WIDTH
    after = await log.signed()
    # The log still leads to what was signed before, and says so to whoever has keys and whoever has not.
    for decrypt in (True, False):
        verdict = await log.verify(decrypt=decrypt, checkpoint=before.note)
        assert (verdict.ok, verdict.checked, verdict.fault) == (True, verdict.size, None)
    # Proofs, of what is kept and of what is gone: the hashes are all there.
    for index in (5, 2 * WIDTH - 1, 2 * WIDTH, after.size - 1):
        reply = await log.rpc.call(
            "audit", "inclusion", wire.InclusionRequest(index=index, size=after.size), wire.ProofReply
        )
        leaf = await leaf_at(log, index)
        proof = [bytes.fromhex(item) for item in reply.hashes]
        verify_inclusion(leaf=leaf, index=index, size=after.size, proof=proof, root=bytes.fromhex(after.root_hash))
    for size in (2 * WIDTH + 1, before.size):
        request = wire.ConsistencyRequest(from_size=size, to_size=after.size)
        reply = await log.rpc.call("audit", "consistency", request, wire.ProofReply)
        if size == before.size:
            verify_consistency(
                from_size=size,
                to_size=after.size,
                from_root=bytes.fromhex(before.root_hash),
                to_root=bytes.fromhex(after.root_hash),
                proof=[bytes.fromhex(item) for item in reply.hashes],
            )
    receipt = await log.rpc.call(
        "audit", "receipt", wire.ReceiptRequest(event_id=kept), wire.ReceiptReply, timeout_s=10.0
    )
    assert check_receipt(receipt.tlog_proof, VerifierKey.parse(after.verifier_key)).index == 2 * WIDTH + 3


async def leaf_at(stack: AuditStack, index: int) -> bytes:
    record = await stack.superuser.fetchval("SELECT record FROM audit.stored_events WHERE index = $1", index)
    if record is not None:
        return leaf_hash(record)
    tile = await stack.superuser.fetchval(
        "SELECT hashes FROM audit.tiles WHERE level = 0 AND number = $1", index // 256
    )
    return bytes(tile[index % 256 * 32 : index % 256 * 32 + 32])


async def test_what_was_pruned_says_so_and_its_events_still_count_once(log: AuditStack):
    gone = await event_at(log, 7)
    agent = unique("agent")
    row = await log.superuser.fetchrow("SELECT stream, event_id FROM audit.entry_lookup WHERE index = 7")
    assert row is not None
    await prune(log, below=WIDTH)
    with pytest.raises(ProblemError) as problem:
        await log.rpc.call("audit", "receipt", wire.ReceiptRequest(event_id=gone), wire.ReceiptReply)
    assert problem.value.problem.code is ProblemCode.GONE
    with pytest.raises(ProblemError) as problem:
        await log.rpc.call("audit", "tile", wire.TileRequest(path="entries/000"), wire.TileReply)
    assert problem.value.problem.code is ProblemCode.GONE
    await log.rpc.call("audit", "tile", wire.TileRequest(path="0/000"), wire.TileReply)
    await log.rpc.call("audit", "tile", wire.TileRequest(path="0/000.p/17"), wire.TileReply)
    size = await log.size()
    # Delivered once more, as from a spool that was offline all the while.
    last = hook_event(agent_id=agent)
    await log.publish([hook_event(agent_id=agent, event_id=gone), last])
    await log.stored([last.id])
    where = await log.superuser.fetch("SELECT index FROM audit.entry_lookup WHERE event_id = $1", gone)
    assert [row["index"] for row in where] == [7]
    assert await log.size() > size
    found = await log.rpc.call("audit", "entries", wire.EntriesRequest(page_items_max=1), wire.EntriesReply)
    assert found.entries[0].index == WIDTH
    terms = await log.superuser.fetchval(
        "SELECT count(*) FROM audit.entry_lookup WHERE index < $1 AND agent IS NOT NULL", WIDTH
    )
    assert terms == 0


async def test_pruning_goes_on_where_it_stopped_and_keys_announced_in_the_past_stay_known(log: AuditStack):
    # The agent's key was announced in the first partition, and is used in all.
    for below in (WIDTH, 3 * WIDTH):
        await prune(log, below=below)
        assert (await log.verify()).ok
    assert (await indexes(log))[0] == 3 * WIDTH
    again = await prune(log, below=3 * WIDTH)
    assert (again.entries, again.partitions) == (0, 0)
    await log.published([hook_event() for _ in range(600)])
    await log.signed()
    assert (await log.verify()).ok


async def test_age_takes_only_partitions_that_are_old_to_the_last_entry(log: AuditStack):
    newest = await log.superuser.fetchval("SELECT time FROM audit.stored_events WHERE index = $1", WIDTH - 1)
    assert (await prune(log, before=newest, dry_run=True)).cut == 0
    just = await log.superuser.fetchval("SELECT min(time) FROM audit.stored_events WHERE time > $1", newest)
    if just is not None:
        assert (await prune(log, before=just, dry_run=True)).cut >= WIDTH


Loss = tuple[str, str, int | None, str]
"""What it is, the statements, the first bad index where one can be named, and words of the finding."""

UNRECORDED: list[Loss] = [
    ("without a record", f"DELETE FROM audit.stored_events WHERE index < {WIDTH}", 0, "missing"),
]
RECORDED: list[Loss] = [
    ("more than recorded", f"DELETE FROM audit.stored_events WHERE index < {WIDTH + 3}", WIDTH, "missing"),
    ("the record removed", "DELETE FROM audit.prunes", 0, "missing"),
    (
        "the record stretched",
        f"UPDATE audit.prunes SET cut = {2 * WIDTH}; DELETE FROM audit.stored_events WHERE index < {2 * WIDTH}",
        0,
        "where",
    ),
    (
        "the note doctored",
        rf"UPDATE audit.prunes SET cut = {2 * WIDTH}, note = replace(note, E'\n{WIDTH}\n', E'\n{2 * WIDTH}\n')",
        0,
        "forged",
    ),
    ("the record's entry elsewhere", f"UPDATE audit.prunes SET index = {WIDTH + 5}", 0, "not in the log"),
    (
        "a tile of the pruned",
        "UPDATE audit.tiles SET hashes = overlay(hashes placing '\\x00'::bytea from 65) WHERE level = 0 AND number = 0",
        0,
        "root",
    ),
    (
        "a tile of the pruned, with its root",
        """
            UPDATE audit.tiles SET hashes = (SELECT hashes FROM audit.tiles WHERE level = 0 AND number = 1),
            root = (SELECT root FROM audit.tiles WHERE level = 0 AND number = 1) WHERE level = 0 AND number = 0
        """,
        None,
        "signed checkpoint",
    ),
    ("a tile of the pruned gone", "DELETE FROM audit.tiles WHERE level = 0 AND number = 0", 0, "missing"),
    (
        "an id of the pruned",
        "UPDATE audit.entry_lookup SET event_id = 'to come' WHERE index = 9",
        None,
        "event ids",
    ),
    ("an id of the pruned gone", "DELETE FROM audit.entry_lookup WHERE index = 9", None, "event ids"),
]


async def found(stack: AuditStack, losses: list[Loss]) -> None:
    """Each loss is found, and once it is made good the log verifies again: with keys and without."""
    tables = ("stored_events", "entry_lookup", "tiles", "prunes")
    for table in tables:
        await stack.superuser.execute(f"CREATE TABLE public.kept_{table} AS TABLE audit.{table}")
    for name, statements, at, words in losses:
        for decrypt in (True, False):
            assert (await stack.verify(decrypt=decrypt)).ok, name
        await stack.superuser.execute(statements)
        for decrypt in (True, False):
            verdict = await stack.verify(decrypt=decrypt)
            assert not verdict.ok, name
            assert at is None or verdict.first_bad_index == at, (name, verdict.fault)
            assert words in str(verdict.fault), name
        for table in tables:
            await stack.superuser.execute(f"TRUNCATE audit.{table}")
            await stack.superuser.execute(f"INSERT INTO audit.{table} SELECT * FROM public.kept_{table}")
    for table in tables:
        await stack.superuser.execute(f"DROP TABLE public.kept_{table}")


async def test_a_loss_that_is_not_on_record_is_found(log: AuditStack):
    await found(log, UNRECORDED)
    await prune(log, below=WIDTH)
    await log.signed()
    await found(log, RECORDED)


async def test_what_was_tampered_with_is_not_pruned_but_reported(log: AuditStack):
    await log.superuser.execute(
        "UPDATE audit.stored_events SET record = overlay(record placing '\\x00'::bytea from 120) WHERE index = 9"
    )
    with pytest.raises(ProblemError, match="entry 9") as problem:
        await prune(log, below=WIDTH)
    assert problem.value.problem.code is ProblemCode.CONFLICT
    assert (await indexes(log))[0] == 0


async def test_the_services_role_can_drop_nothing_that_is_not_on_record(log: AuditStack):
    role = await asyncpg.connect(log.postgres.database_url("audit"))
    try:
        assert await role.fetchval("SELECT audit.drop_pruned()") is None
        # A record that is no entry of the log opens nothing.
        await role.execute(f"INSERT INTO audit.prunes (cut, note, index) VALUES ({WIDTH}, 'made up', {WIDTH + 1})")
        with pytest.raises(asyncpg.RaiseError, match="no entry of the log"):
            await role.fetchval("SELECT audit.drop_pruned()")
        # Nor does one beside an entry that the log wrote about something else.
        await log.superuser.execute(f"UPDATE audit.stored_events SET stream = 0 WHERE index = {WIDTH + 1}")
        with pytest.raises(asyncpg.RaiseError, match="no entry of the log"):
            await role.fetchval("SELECT audit.drop_pruned()")
        for statement in (
            "DROP TABLE audit.stored_events_from_0",
            "DELETE FROM audit.stored_events WHERE index = 0",
            "DELETE FROM audit.prunes",
            "UPDATE audit.prunes SET cut = 0",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await role.execute(statement)
        assert (await indexes(log))[0] == 0
    finally:
        await role.close()


async def test_a_partition_that_is_being_read_waits_and_goes_later(log: AuditStack):
    reader = await asyncpg.connect(log.postgres.superuser_url)
    try:
        async with reader.transaction():
            await reader.fetchval("SELECT count(*) FROM audit.stored_events")
            # Recorded, not dropped: the log verifies either way, and takes events meanwhile.
            waiting = asyncio.create_task(prune(log, below=WIDTH))
            await log.published([hook_event() for _ in range(20)])
            assert (await waiting).pending == 1
            assert (await indexes(log))[0] == 0
            await log.signed()
            assert (await log.verify()).ok
    finally:
        await reader.close()
    done = await prune(log, below=WIDTH)
    assert (done.pending, (await indexes(log))[0]) == (0, WIDTH)
    assert (await log.verify()).ok
