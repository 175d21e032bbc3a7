"""The check of the audit log: live, by depth and number of processes, and of an export offline."""

import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from support.audit import fresh_schema
from support.audit_load import TEXT, incoming, leading
from support.measure import print_row
from support.paper_log import PaperLog, write_bundle
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit import bundle, checking
from hookbus.audit.checking import Means, check_log
from hookbus.audit.repository.leading import Connection
from hookbus.audit.tree import leaf_hash

CHECK_ENTRIES = int(os.environ.get("HOOKBUS_BENCH_CHECK_LOG", "250000"))


async def bench_check(own_nats_server: NatsFixture, own_postgres_server: PostgresFixture, tmp_path: Path) -> None:
    """The check of a log, by depth and processes, beside the bare reading of its rows with each record hashed."""
    await fresh_schema(own_postgres_server)
    print_row("audit check", "rate", "bare read and hash", "ratio")
    async with leading(own_nats_server, own_postgres_server, tmp_path) as (opened, database):
        for _ in range(0, CHECK_ENTRIES, 4_000):
            await opened.sequencer.append(incoming(4_000))
            await opened.publisher.publish()
        url = own_postgres_server.database_url("audit")
        for words, means, least in (
            ("checkpoints alone", Means(hashes_only=True), None),
            ("leaves, one process", Means(), sys.maxsize),
            ("leaves, every core", Means(None, url), 0),
            ("all, one process", Means(opened.keyring), sys.maxsize),
            ("all, every core", Means(opened.keyring, url), 0),
        ):
            async with database.raw() as connection:
                bare = await read_rate(connection)
                with patched(least):
                    started = time.perf_counter()
                    found = await check_log(connection, trust=opened.signer.trust, remembered=[], means=means)
            assert found.fault is None
            rate = found.checked / (time.perf_counter() - started)
            print_row(f"{words}, {found.checked:,} entries", f"{rate:,.0f}/s", f"{bare:,.0f}/s", f"{rate / bare:.2f}")


@contextmanager
def patched(entries_min: int | None) -> Generator[None]:
    """Where the check begins to use processes."""
    before = checking.PARALLEL_ENTRIES_MIN
    checking.PARALLEL_ENTRIES_MIN = before if entries_min is None else entries_min
    yield
    checking.PARALLEL_ENTRIES_MIN = before


async def read_rate(connection: Connection) -> float:
    """The least a check must do: every row read, every record hashed."""
    size = int(await connection.fetchval("SELECT size FROM audit.log_state"))
    started = time.perf_counter()
    for first in range(0, size, checking.STRETCH_ENTRIES):
        rows = await connection.fetch(
            "SELECT * FROM audit.stored_events WHERE index >= $1 AND index < $2 ORDER BY index",
            first,
            first + checking.STRETCH_ENTRIES,
        )
        for row in rows:
            leaf_hash(row["record"])
    return size / (time.perf_counter() - started)


def bench_bundle_check(tmp_path: Path) -> None:
    """The offline check of an export of HOOKBUS_BENCH_CHECK_LOG entries, with and without its keys."""
    log = PaperLog(tmp_path)
    while log.size < CHECK_ENTRIES:
        log.append(10_000, text=TEXT)
    file = write_bundle(tmp_path / "log.zip", log.parts())
    keys = {key.key_id: key for key in log.keys.values()}
    print_row("offline check of a bundle", "rate", "", "")
    for words, least, given in (
        ("leaves, one process", sys.maxsize, None),
        ("leaves, every core", 0, None),
        ("all, one process", sys.maxsize, keys),
        ("all, every core", 0, keys),
    ):
        before, bundle.PARALLEL_ENTRIES_MIN = bundle.PARALLEL_ENTRIES_MIN, least
        opened = bundle.Bundle(file)
        started = time.perf_counter()
        found = bundle.check_bundle(opened, bundle.Against(log.pinned), keys=given)
        rate = found.checked / (time.perf_counter() - started)
        opened.close()
        bundle.PARALLEL_ENTRIES_MIN = before
        assert found.fault is None
        print_row(f"{words}, {found.checked:,} entries", f"{rate:,.0f}/s", "", "")
