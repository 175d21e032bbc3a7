"""The audit log: appends against a bare COPY of the same bytes, the drain from the bus, and a long log."""

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
from support.audit import bystander, fresh_schema
from support.audit_load import events, incoming, leading
from support.bus import new_broker
from support.measure import print_row
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.opened import OpenLog
from hookbus.audit.repository.leading import Connection
from hookbus.audit.sequencer import PARTITION_ENTRIES
from hookbus.platform.bus.connection import Broker
from hookbus.platform.bus.publisher import Publisher
from hookbus.platform.bus.pulling import BATCH_MESSAGES_MAX

BATCHES = (1, 10, 100, 1_000)
APPEND_S = 3.0
DRAIN_EVENTS = 40_000
LONG_ENTRIES = int(os.environ.get("HOOKBUS_BENCH_LONG_LOG", "1000000"))
"""5,000,000 take some 6 GB of disk and a few minutes to fill."""
LONG_ROUNDS = 3
TRACED = {"HOOKBUS_TRACE_SAMPLE_RATIO": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
"""Spans are made and handed to the exporter, whose collector is away."""
FILL_TIMEOUT_S = 1_200
FILL_STEP = 250_000
WAIT_S = 120


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
    """Entries a second by batch, fsync at each commit, beside a bare COPY."""
    await fresh_schema(own_postgres_server)
    print_row("audit append", "rate", "bare COPY", "ratio")
    print_row("---", "---", "---", "---")
    superuser = await asyncpg.connect(own_postgres_server.superuser_url)
    try:
        async with leading(own_nats_server, own_postgres_server, tmp_path) as (opened, _):
            await append_rate(opened, 100, 0.5)
            for batch in BATCHES:
                rate = await append_rate(opened, batch)
                rows = await superuser.fetch("SELECT index, record FROM audit.stored_events ORDER BY index LIMIT 60000")
                bare = await copy_rate(superuser, [(row["index"], row["record"]) for row in rows], batch)
                print_row(f"batches of {batch}", f"{rate:,.0f}/s", f"{bare:,.0f}/s", f"{rate / bare:.2f}")
    finally:
        await superuser.close()


async def bench_drain(own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path) -> None:
    """Events that wait on the bus, drained by the service's own process: bus, encryption, tree, commit, ack.

    The reference only pulls and acknowledges the same events, by nats-py's own ``fetch``.
    """
    print_row("audit drain", "rate", "processor time of the process", "ratio")
    bare = await bare_drain(own_nats_server)
    print_row(f"bare fetch and ack of {DRAIN_EVENTS:,} events", f"{bare.rate:,.0f}/s", f"{bare.busy_us:.0f} us", "1.00")
    for words, tracing in (("every event traced", TRACED), ("no event traced", {})):
        await fresh_schema(own_postgres_server)
        folder = tmp_path / words
        folder.mkdir()
        service = ServiceProcess.audit(folder, own_nats_server, own_postgres_server, **tracing)
        async with bystander(own_nats_server, own_postgres_server, folder) as stack:
            await fill_bus(stack.gateway)
            service.start()
            process = psutil.Process(service.pid)
            try:
                first = await _size_over(stack.superuser, 0)
                busy_s = busy(process)
                last = await _size_over(stack.superuser, DRAIN_EVENTS)
                count = last[1] - first[1]
                drained = Drained(count / (last[0] - first[0]), (busy(process) - busy_s) / count * 1e6)
                print_row(
                    f"drain of {DRAIN_EVENTS:,} events into the log, {words}",
                    f"{drained.rate:,.0f}/s",
                    f"{drained.busy_us:.0f} us",
                    f"{drained.rate / bare.rate:.2f}",
                )
            finally:
                service.stop()


@dataclass(frozen=True)
class Drained:
    """Events a second, and processor time an event in microseconds."""

    rate: float
    busy_us: float


def busy(process: psutil.Process) -> float:
    """Seconds of processor time so far."""
    times = process.cpu_times()
    return times.user + times.system


async def fill_bus(gateway: Broker) -> None:
    await Publisher(gateway).publish_many(
        [(event, f"hooks.post-task.{event.subject}") for event in events(DRAIN_EVENTS)]
    )


async def bare_drain(nats: NatsFixture) -> Drained:
    """What the bus alone allows a reader that does nothing with an event."""
    gateway = new_broker(nats, "gateway")
    await gateway.connect()
    await fill_bus(gateway)
    await gateway.stop()
    client = await nats.connect("audit")
    durable = await client.jetstream().pull_subscribe_bind(consumer="audit", stream="HOOKS")
    process = psutil.Process()
    done, busy_s, started = 0, busy(process), time.perf_counter()
    while done < DRAIN_EVENTS:
        messages = await durable.fetch(BATCH_MESSAGES_MAX, timeout=WAIT_S)
        for message in messages:
            await message.ack()
        done += len(messages)
    await client.flush()
    found = Drained(done / (time.perf_counter() - started), (busy(process) - busy_s) / done * 1e6)
    await client.close()
    return found


async def bench_long_log(own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path) -> None:
    """The same append on an empty log and behind HOOKBUS_BENCH_LONG_LOG entries, in turns with a bare COPY."""
    await fresh_schema(own_postgres_server)
    superuser = await asyncpg.connect(own_postgres_server.superuser_url)
    try:
        empty = await _append_beside_copy(own_nats_server, own_postgres_server, tmp_path, superuser)
        await _lengthen(superuser, LONG_ENTRIES)
        (tmp_path / "signing.pem.last").unlink(missing_ok=True)
        long = await _append_beside_copy(own_nats_server, own_postgres_server, tmp_path, superuser)
    finally:
        await superuser.close()
    print_row("append in batches of 100", "rate", "bare COPY", "ratio")
    for words, (rate, bare) in (("empty log", empty), (f"behind {LONG_ENTRIES:,} entries", long)):
        print_row(words, f"{rate:,.0f}/s", f"{bare:,.0f}/s", f"{rate / bare:.2f}")
    print_row("the longer log is slower by", f"{empty[0] / long[0]:.2f}", "", "")


async def _append_beside_copy(
    nats: NatsFixture, postgres: PostgresFixture, folder: Path, superuser: Connection
) -> tuple[float, float]:
    """Medians of appends and of the reference, in turns."""
    rates: list[float] = []
    bares: list[float] = []
    rows = [(number, bytes(720)) for number in range(40_000)]
    async with leading(nats, postgres, folder) as (opened, _):
        await append_rate(opened, 100, 1.0)
        for _ in range(LONG_ROUNDS):
            rates.append(await append_rate(opened, 100))
            bares.append(await copy_rate(superuser, rows, 100))
    return statistics.median(rates), statistics.median(bares)


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
    for first in range(start, size, FILL_STEP):
        end = min(size, first + FILL_STEP)
        # Partitions are made only a step ahead of where the log stands.
        await connection.execute("UPDATE audit.log_state SET size = $1", first)
        await connection.execute("SELECT audit.ensure_partitions($1, $2)", end, PARTITION_ENTRIES)
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
