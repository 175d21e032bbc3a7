"""The audit log: appends against a bare COPY of the same bytes, the drain from the bus, the check, and a long log."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from support.audit import audit_settings, bystander, fresh_schema
from support.audit_process import AuditProcess
from support.events import hook_event
from support.measure import print_row
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.checking import Means, check_log
from hookbus.audit.entries import Incoming, from_event
from hookbus.audit.log import Log
from hookbus.audit.opened import OpenLog
from hookbus.audit.record import Stream
from hookbus.audit.repository.leading import Connection
from hookbus.contracts.events import Event, Kind
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.database.engine import Database

BATCHES = (1, 10, 100, 1_000)
APPEND_S = 3.0
AGENTS = 8
TEXT = "x" * 250
"""Makes an event of about 600 bytes."""
DRAIN_EVENTS = 40_000
LONG_ENTRIES = int(os.environ.get("HOOKBUS_BENCH_LONG_LOG", "500000"))
FILL_TIMEOUT_S = 1_200
FILL_STEP = 250_000
WAIT_S = 120


def events(count: int) -> list[Event]:
    return [
        hook_event(Kind.POST_TASK, agent_id=f"agent-{n % AGENTS}", session=f"s-{n % 32}", data={"text": TEXT, "n": n})
        for n in range(count)
    ]


def incoming(count: int) -> list[Incoming]:
    return [from_event(Stream.HOOKS, event, event.to_wire()) for event in events(count)]


@asynccontextmanager
async def leading(
    nats: NatsFixture, postgres: PostgresFixture, folder: Path
) -> AsyncGenerator[tuple[OpenLog, Database]]:
    """A log in this process that appends, without the bus."""
    database = Database("audit", audit_settings(nats, postgres, folder))
    log = Log(audit_settings(nats, postgres, folder), database)
    opened = await log.open()
    async with database.raw() as connection:
        reign = asyncio.create_task(opened.sequencer.reign(connection))
        while not opened.sequencer.leads:
            await asyncio.sleep(0.01)
        try:
            yield opened, database
        finally:
            reign.cancel()
            await asyncio.wait((reign,))
    await log.close()
    await database.close()


async def append_rate(opened: OpenLog, batch: int, duration_s: float = APPEND_S) -> float:
    """Entries a second, one batch after another, each committed."""
    prepared = [incoming(batch) for _ in range(max(3, 40_000 // batch if batch >= 100 else 1_000))]
    started = time.perf_counter()
    done = 0
    for items in prepared:
        await opened.sequencer.append(items)
        done += len(items)
        if time.perf_counter() - started > duration_s:
            break
    return done / (time.perf_counter() - started)


async def copy_rate(connection: Connection, rows: Sequence[tuple[int, bytes]], batch: int) -> float:
    """The reference: the same records by COPY into a table with a key, a commit for each batch."""
    await connection.execute("DROP TABLE IF EXISTS audit.bench")
    await connection.execute("CREATE TABLE audit.bench (index bigint PRIMARY KEY, record bytea NOT NULL)")
    await connection.execute("ALTER TABLE audit.bench ALTER record SET STORAGE EXTERNAL")
    started = time.perf_counter()
    done = 0
    while done < len(rows) and time.perf_counter() - started < APPEND_S:
        await connection.copy_records_to_table("bench", schema_name="audit", records=rows[done : done + batch])
        done += batch
    rate = min(done, len(rows)) / (time.perf_counter() - started)
    await connection.execute("DROP TABLE audit.bench")
    return rate


async def bench_append(own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path) -> None:
    """Entries a second by batch, fsync at each commit, beside a bare COPY; then the rate of the check."""
    await fresh_schema(own_postgres_server)
    print_row("audit append", "rate", "bare COPY", "ratio")
    print_row("---", "---", "---", "---")
    superuser = await asyncpg.connect(own_postgres_server.superuser_url)
    try:
        async with leading(own_nats_server, own_postgres_server, tmp_path) as (opened, database):
            await append_rate(opened, 100, 0.5)
            for batch in BATCHES:
                rate = await append_rate(opened, batch)
                rows = await superuser.fetch("SELECT index, record FROM audit.stored_events ORDER BY index LIMIT 60000")
                bare = await copy_rate(superuser, [(row["index"], row["record"]) for row in rows], batch)
                print_row(f"batches of {batch}", f"{rate:,.0f}/s", f"{bare:,.0f}/s", f"{rate / bare:.2f}")
            await opened.publisher.publish()
            url = own_postgres_server.database_url("audit")
            for words, means in (
                ("without keys, one process", Means()),
                ("without keys, every core", Means(None, url)),
                ("with decryption, one process", Means(opened.keyring)),
                ("with decryption, every core", Means(opened.keyring, url)),
            ):
                started = time.perf_counter()
                async with database.raw() as connection:
                    found = await check_log(connection, trust=opened.signer.trust, remembered=[], means=means)
                assert found.fault is None
                taken = time.perf_counter() - started
                print_row(f"check of {found.checked:,} entries {words}", f"{found.checked / taken:,.0f}/s")
    finally:
        await superuser.close()


async def bench_drain(own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path) -> None:
    """Events that wait on the bus, drained by the service's own process: bus, encryption, tree, commit, ack."""
    for words, ratio in (("every event traced", "1"), ("no event traced", "0")):
        await fresh_schema(own_postgres_server)
        folder = tmp_path / ratio
        folder.mkdir()
        service = AuditProcess(own_nats_server, own_postgres_server, folder, {"HOOKBUS_TRACE_SAMPLE_RATIO": ratio})
        async with bystander(own_nats_server, own_postgres_server, folder) as stack:
            await Publisher(stack.gateway).publish_many(
                [(event, f"hooks.post-task.{event.subject}") for event in events(DRAIN_EVENTS)]
            )
            service.start()
            try:
                first = await _size_over(stack.superuser, 0)
                last = await _size_over(stack.superuser, DRAIN_EVENTS)
                rate = (last[1] - first[1]) / (last[0] - first[0])
                print_row(f"drain of {DRAIN_EVENTS:,} events from the bus, {words}", f"{rate:,.0f}/s")
            finally:
                service.stop()


async def bench_long_log(own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path) -> None:
    """The same append on an empty log and behind HOOKBUS_BENCH_LONG_LOG entries."""
    await fresh_schema(own_postgres_server)
    async with leading(own_nats_server, own_postgres_server, tmp_path) as (opened, _):
        await append_rate(opened, 100, 0.5)
        empty = await append_rate(opened, 100)
    superuser = await asyncpg.connect(own_postgres_server.superuser_url)
    try:
        await _lengthen(superuser, LONG_ENTRIES)
    finally:
        await superuser.close()
    (tmp_path / "signing.pem.last").unlink(missing_ok=True)
    async with leading(own_nats_server, own_postgres_server, tmp_path) as (opened, _):
        await append_rate(opened, 100, 2.0)
        long = await append_rate(opened, 100)
    print_row("append in batches of 100, empty log", f"{empty:,.0f}/s")
    print_row(f"append behind {LONG_ENTRIES:,} entries", f"{long:,.0f}/s", f"{empty / long:.2f} times slower")


async def _size_over(connection: Connection, size: int) -> tuple[float, int]:
    async with asyncio.timeout(WAIT_S):
        while True:
            found = int(await connection.fetchval("SELECT coalesce((SELECT size FROM audit.log_state), 0)"))
            if found > size:
                return time.perf_counter(), found
            await asyncio.sleep(0.01)


async def _lengthen(connection: Connection, size: int) -> None:
    """Make the log look ``size`` entries long: rows of the same shape, hashes that only have the right length."""
    start = int(await connection.fetchval("SELECT size FROM audit.log_state"))
    for partition in range(1, size // 1_048_576 + 2):
        first = partition * 1_048_576
        await connection.execute(
            f"CREATE TABLE IF NOT EXISTS audit.stored_events_{partition:06d} PARTITION OF audit.stored_events"
            f" FOR VALUES FROM ({first}) TO ({first + 1_048_576})"
        )
    for first in range(start, size, FILL_STEP):
        end = min(size, first + FILL_STEP)
        await connection.execute(
            "WITH fresh AS (INSERT INTO audit.entry_lookup (index, stream, event_id, kind, agent, session)"
            " SELECT n, 1, 'filled-' || md5(n::text), 'post-task', substr(sha256((n % 8)::text::bytea), 1, 16),"
            " substr(sha256((n % 32)::text::bytea), 1, 16) FROM generate_series($1::bigint, $2::bigint - 1) n"
            " RETURNING index, event_id)"
            " INSERT INTO audit.stored_events (index, stream, event_id, time, key_id, leaf_hash, record)"
            " SELECT index, 1, event_id, now(), substr(sha256('k'), 1, 16), sha256(index::text::bytea),"
            " decode(repeat(md5(index::text), 36), 'hex') FROM fresh",
            first,
            end,
            timeout=FILL_TIMEOUT_S,
        )
    await connection.execute(
        "INSERT INTO audit.tiles (level, number, hashes, root)"
        " SELECT level, n, decode(repeat('00', 8192), 'hex'), sha256(n::text::bytea)"
        " FROM (VALUES (0, 256::bigint), (1, 65536)) AS levels (level, width),"
        " generate_series(0, $1::bigint / width - 1) n ON CONFLICT DO NOTHING",
        size,
        timeout=FILL_TIMEOUT_S,
    )
    await connection.execute("UPDATE audit.log_state SET size = $1, frontier = $2", size, bytes(32 * size.bit_count()))
    await connection.execute("TRUNCATE audit.checkpoints, audit.cosignatures")
    await connection.execute("ANALYZE")
    await connection.execute("CHECKPOINT")
