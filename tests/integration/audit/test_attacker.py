"""A superuser of the database doctors the log; the check names what was done. Each attack has its control: the same
log verifies before it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from support.audit import AuditStack, audit_stack, bystander
from support.events import hook_event
from support.paper_log import PaperLog
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit import checking
from hookbus.audit.record import HEADER_BYTES, from_microseconds
from hookbus.audit.repository.leading import Connection
from hookbus.audit.tiles import LogTree
from hookbus.audit.tree import leaf_hash

ENTRIES = 600
"""Two full tiles and a partial one."""


@dataclass(frozen=True)
class Attack:
    """What the superuser does, and the index the check must name: ``at`` for a log of ``size`` entries."""

    name: str
    act: Callable[[Connection, int], Awaitable[object]]
    at: Callable[[int], int | None]
    words: str


def sql(statement: str) -> Callable[[Connection, int], Awaitable[object]]:
    """A statement with ``{last}`` for the last index and ``{size}`` for the size."""

    async def act(connection: Connection, size: int) -> None:
        await connection.execute(statement.format(last=size - 1, size=size))

    return act


def flip(index: int, offset: int) -> Callable[[Connection, int], Awaitable[object]]:
    """One bit of a record, and nothing else: a negative offset counts from the end."""

    async def act(connection: Connection, size: int) -> None:
        record = bytearray(
            await connection.fetchval("SELECT record FROM audit.stored_events WHERE index = $1", index % size)
        )
        record[offset] ^= 1
        await connection.execute(
            "UPDATE audit.stored_events SET record = $1 WHERE index = $2", bytes(record), index % size
        )

    return act


def flip_and_rehash(index: int, offset: int) -> Callable[[Connection, int], Awaitable[object]]:
    """One bit of a record, and the leaf hash made to fit."""

    async def act(connection: Connection, size: int) -> None:
        await flip(index, offset)(connection, size)
        record = await connection.fetchval("SELECT record FROM audit.stored_events WHERE index = $1", index % size)
        await connection.execute(
            "UPDATE audit.stored_events SET leaf_hash = $1 WHERE index = $2", leaf_hash(record), index % size
        )

    return act


SWAP = """
    UPDATE audit.stored_events SET index = 900000 WHERE index = 10;
    UPDATE audit.stored_events SET index = 10 WHERE index = 20;
    UPDATE audit.stored_events SET index = 20 WHERE index = 900000
"""
CLOSE_GAP = """
    DELETE FROM audit.stored_events WHERE index = 100;
    UPDATE audit.stored_events SET index = index + 500000 WHERE index > 100;
    UPDATE audit.stored_events SET index = index - 500001 WHERE index > 500000
"""
INSERT_COPY = """
    INSERT INTO audit.stored_events
    SELECT {size}, stream, 'added', time, key_id, leaf_hash, record, detached
    FROM audit.stored_events WHERE index = 7
"""
DUPLICATE = """
    ALTER TABLE audit.stored_events DROP CONSTRAINT stored_events_pkey;
    INSERT INTO audit.stored_events SELECT * FROM audit.stored_events WHERE index = 300
"""
BELOW_ZERO = """
    ALTER TABLE audit.stored_events DROP CONSTRAINT stored_events_index_check;
    CREATE TABLE audit.stored_events_below PARTITION OF audit.stored_events FOR VALUES FROM (-10) TO (0);
    INSERT INTO audit.stored_events
    SELECT -1, stream, event_id, time, key_id, leaf_hash, record, detached
    FROM audit.stored_events WHERE index = 7
"""

FIELDS = {
    "version": 0,
    "algorithm": 1,
    "stream": 2,
    "reserved": 3,
    "log id": 4,
    "index": 27,
    "event": 28,
    "time": 67,
    "key id": 68,
    "nonce": HEADER_BYTES,
    "ciphertext": HEADER_BYTES + 12,
    "tag": -1,
}

ATTACKS = [
    *(Attack(f"flip {name}", flip(100, offset), lambda _: 100, "") for name, offset in FIELDS.items()),
    *(
        Attack(f"flip and rehash {name} of the last", flip_and_rehash(-1, offset), lambda size: size - 1, "")
        for name, offset in FIELDS.items()
    ),
    Attack("delete the first", sql("DELETE FROM audit.stored_events WHERE index = 0"), lambda _: 0, "missing"),
    Attack("delete a middle one", sql("DELETE FROM audit.stored_events WHERE index = 77"), lambda _: 77, "missing"),
    Attack(
        "delete the last",
        sql("DELETE FROM audit.stored_events WHERE index = {last}"),
        lambda size: size - 1,
        "missing",
    ),
    Attack("delete and close the gap", sql(CLOSE_GAP), lambda _: 100, "moved or swapped"),
    Attack("swap", sql(SWAP), lambda _: 10, "moved or swapped"),
    Attack("add a copy at the end", sql(INSERT_COPY), lambda size: size, "added"),
    Attack("add a copy of a row", sql(DUPLICATE), lambda _: 300, "added"),
    Attack("add a row before the first", sql(BELOW_ZERO), lambda _: -1, "added"),
    Attack(
        "another event id",
        sql("UPDATE audit.stored_events SET event_id = 'other' WHERE index = 5"),
        lambda _: 5,
        "event id",
    ),
    Attack(
        "another time",
        sql("UPDATE audit.stored_events SET time = time - interval '1 microsecond' WHERE index = 5"),
        lambda _: 5,
        "time",
    ),
    Attack("another stream", sql("UPDATE audit.stored_events SET stream = 2 WHERE index = 5"), lambda _: 5, "stream"),
    Attack(
        "another key id",
        sql("UPDATE audit.stored_events SET key_id = decode(repeat('00', 16), 'hex') WHERE index = 5"),
        lambda _: 5,
        "key id",
    ),
    Attack(
        "another leaf hash",
        sql("UPDATE audit.stored_events SET leaf_hash = decode(repeat('00', 32), 'hex') WHERE index = 5"),
        lambda _: 5,
        "leaf hash",
    ),
    Attack(
        "a detached part from nowhere",
        sql("UPDATE audit.stored_events SET detached = 'x' WHERE index = 5"),
        lambda _: 5,
        "detached",
    ),
    Attack(
        "a tile",
        sql("UPDATE audit.tiles SET hashes = overlay(hashes placing '\\x00'::bytea from 33) WHERE number = 1"),
        lambda _: 257,
        "tile",
    ),
    Attack(
        "a tile's root",
        sql("UPDATE audit.tiles SET root = decode(repeat('00', 32), 'hex') WHERE number = 1"),
        lambda _: 256,
        "root",
    ),
    Attack("a tile gone", sql("DELETE FROM audit.tiles WHERE number = 1"), lambda _: 256, "missing"),
    Attack(
        "a checkpoint forged",
        sql("UPDATE audit.checkpoints SET note = replace(note, E'\\n', E' \\n')"),
        lambda _: None,
        "forged",
    ),
    Attack(
        "a checkpoint's root",
        sql("UPDATE audit.checkpoints SET root = decode(repeat('00', 32), 'hex')"),
        lambda _: None,
        "root it does not name",
    ),
    Attack(
        "a checkpoint of no size",
        sql("INSERT INTO audit.checkpoints (size, root, note) SELECT -5, root, note FROM audit.checkpoints LIMIT 1"),
        lambda _: None,
        "size -5",
    ),
    Attack(
        "a checkpoint under another size",
        sql("UPDATE audit.checkpoints SET size = size + 10000"),
        lambda _: None,
        "is that of size",
    ),
    *(
        Attack(
            f"an entry hidden by its search row: {column}",
            sql(f"UPDATE audit.entry_lookup SET {column} = {value} WHERE index = 5"),
            lambda _: 5,
            f"its {column} is not that of the entry",
        )
        for column, value in {
            "agent": "NULL",
            "session": "decode(repeat('00', 16), 'hex')",
            "project": "decode(repeat('00', 16), 'hex')",
            "kind": "'prompt'",
            "outcome": "'allow'",
        }.items()
    ),
    Attack("a search row gone", sql("DELETE FROM audit.entry_lookup WHERE index = 5"), lambda _: 5, "search row"),
    Attack(
        "a search row for an event to come",
        sql("INSERT INTO audit.entry_lookup (index, stream, event_id, kind) VALUES (900000, 1, 'to come', 'prompt')"),
        lambda _: 900_000,
        "taken for a duplicate",
    ),
    Attack(
        "a search row of another event",
        sql("UPDATE audit.entry_lookup SET event_id = 'other' WHERE index = 5"),
        lambda _: 5,
        "search row",
    ),
    Attack("everything gone", sql("TRUNCATE audit.stored_events"), lambda _: 0, "missing"),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
async def test_the_check_names_what_the_superuser_did(stack: AuditStack, attack: Attack):
    await stack.published([hook_event() for _ in range(ENTRIES)])
    signed = await stack.signed()
    size = signed.size
    assert (await stack.verify()).ok
    await attack.act(stack.superuser, size)
    verdict = await stack.verify()
    assert not verdict.ok
    assert verdict.first_bad_index == attack.at(size)
    assert verdict.fault is not None
    assert attack.words in verdict.fault


TRUNCATE_TO = """
    DELETE FROM audit.stored_events WHERE index >= {size};
    DELETE FROM audit.entry_lookup WHERE index >= {size};
    DELETE FROM audit.tiles WHERE (number + 1) * 256 > {size};
    DELETE FROM audit.checkpoints WHERE size > {size}
"""


async def truncate_to_checkpoint(stack: AuditStack, size: int, note: str, frontier: bytes) -> None:
    """Take every table back to where it stood when ``note`` was signed."""
    await stack.superuser.execute(TRUNCATE_TO.format(size=size))
    await stack.superuser.execute(
        "UPDATE audit.log_state SET size = $1, frontier = $2, latest_note = $3", size, frontier, note
    )


async def test_a_log_taken_back_to_an_old_checkpoint_is_found_by_whoever_remembers_a_later_one(stack: AuditStack):
    await stack.published([hook_event() for _ in range(20)])
    old = await stack.signed()
    frontier = await stack.superuser.fetchval("SELECT frontier FROM audit.log_state")
    await stack.published([hook_event() for _ in range(20)])
    new = await stack.signed()
    assert (await stack.verify(checkpoint=new.note)).ok
    await truncate_to_checkpoint(stack, old.size, old.note, frontier)
    verdict = await stack.verify(checkpoint=new.note)
    assert (verdict.ok, verdict.first_bad_index) == (False, old.size)
    # The signer's own memory lies outside the database: it suffices.
    assert not (await stack.verify()).ok


async def test_an_entry_of_another_log_is_found(stack: AuditStack, tmp_path: Path):
    await stack.published([hook_event() for _ in range(20)])
    other = PaperLog(tmp_path)
    other.append(20)
    assert (await stack.verify()).ok
    entry = other.entries[7]
    await stack.superuser.execute(
        "UPDATE audit.stored_events SET stream = $1, event_id = $2, time = $3, key_id = $4, leaf_hash = $5, record = $6"
        " WHERE index = 7",
        entry.stream,
        entry.event_id,
        from_microseconds(entry.time_us),
        entry.key_id,
        entry.leaf_hash,
        entry.record,
    )
    verdict = await stack.verify(decrypt=False)
    assert (verdict.ok, verdict.first_bad_index) == (False, 7)
    assert "another log" in str(verdict.fault)


async def test_recomputing_every_hash_does_not_help(stack: AuditStack):
    await stack.published([hook_event() for _ in range(ENTRIES)])
    signed = await stack.signed()
    await stack.published([hook_event() for _ in range(5)])
    newest = await stack.signed()
    assert (await stack.verify()).ok
    await flip_and_rehash(100, -20)(stack.superuser, signed.size)
    rows = await stack.superuser.fetch("SELECT leaf_hash FROM audit.stored_events ORDER BY index")
    tree, tiles = LogTree().appended([row["leaf_hash"] for row in rows])
    for tile in tiles:
        await stack.superuser.execute(
            "UPDATE audit.tiles SET hashes = $1, root = $2 WHERE level = $3 AND number = $4",
            tile.hashes,
            tile.root,
            tile.level,
            tile.number,
        )
    await stack.superuser.execute("UPDATE audit.log_state SET frontier = $1", tree.frontier.to_bytes())
    # With keys the very entry; without, the first checkpoint it breaks.
    verdict = await stack.verify()
    assert (verdict.ok, verdict.first_bad_index) == (False, 100)
    verdict = await stack.verify(decrypt=False)
    assert not verdict.ok
    assert verdict.first_bad_index is not None
    assert verdict.first_bad_index <= 100
    assert "signed checkpoint" in str(verdict.fault)
    assert newest.size > signed.size


async def test_a_restored_backup_gets_no_signature_and_is_found(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    tables = ("log_state", "stored_events", "entry_lookup", "tiles", "checkpoints", "data_keys")
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published([hook_event() for _ in range(30)])
        await stack.signed()
        for table in tables:
            await stack.superuser.execute(f"CREATE TABLE public.backup_{table} AS TABLE audit.{table}")
        await stack.published([hook_event() for _ in range(30)])
        late = await stack.signed()
        assert (await stack.verify(checkpoint=late.note)).ok
    superuser = await asyncpg.connect(empty_log.superuser_url)
    for table in tables:
        await superuser.execute(f"TRUNCATE audit.{table} CASCADE")
        await superuser.execute(f"INSERT INTO audit.{table} SELECT * FROM public.backup_{table}")
        await superuser.execute(f"DROP TABLE public.backup_{table}")
    async with bystander(nats_server, empty_log, tmp_path) as stack:
        service = ServiceProcess.audit(tmp_path, nats_server, empty_log)
        service.start()
        try:
            # It goes on taking events, but nobody signs them.
            events = [hook_event() for _ in range(50)]
            await stack.published(events)
            await asyncio.sleep(2)
            note = await superuser.fetchval("SELECT latest_note FROM audit.log_state")
            assert int(note.split("\n")[1]) < late.size
            verdict = await stack.verify(checkpoint=late.note)
            assert not verdict.ok
            # The signer's own memory says so as well.
            assert not (await stack.verify()).ok
            assert "refused by the signer" in (tmp_path / "audit.log").read_text()
        finally:
            service.stop()
            await superuser.close()


async def test_a_long_log_is_checked_by_several_processes_with_the_same_findings(
    stack: AuditStack, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checking, "PARALLEL_ENTRIES_MIN", 0)
    monkeypatch.setattr(checking, "STRETCH_ENTRIES", 256)
    await stack.published([hook_event() for _ in range(1_500)])
    await stack.signed()
    for decrypt in (True, False):
        verdict = await stack.verify(decrypt=decrypt)
        assert (verdict.ok, verdict.checked) == (True, verdict.size)
    await flip_and_rehash(700, -1)(stack.superuser, 1_500)
    await flip_and_rehash(1_200, -1)(stack.superuser, 1_500)
    for decrypt in (True, False):
        verdict = await stack.verify(decrypt=decrypt)
        assert (verdict.ok, verdict.first_bad_index) == (False, 700)
