"""The audit service is killed in mid-batch again and again: no event lost, none stored twice, no place empty."""

import asyncio
import random
from pathlib import Path

import pytest
from support.audit import bystander, fresh_schema
from support.events import hook_event
from support.faults import sized
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture

KILLS = sized(8, 50)
EVENTS_PER_ROUND = 60
FIRST_COMMIT_WAIT_S = 180
"""A start of the service on a machine that does much else."""
TEST_TIMEOUT_S = sized(900, 3_600)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(TEST_TIMEOUT_S)]


async def test_kills_leave_no_gap_and_no_double(
    nats_server: NatsFixture, postgres_server: PostgresFixture, tmp_path: Path
):
    await fresh_schema(postgres_server)
    service = ServiceProcess.audit(tmp_path, nats_server, postgres_server)
    randomness = random.Random(4)
    published: list[str] = []
    async with bystander(nats_server, postgres_server, tmp_path) as stack:
        try:
            for _ in range(KILLS):
                service.start()
                before = await stack.superuser.fetchval("SELECT coalesce((SELECT size FROM audit.log_state), 0)")
                events = [hook_event(data={"text": "x" * 2_000}) for _ in range(EVENTS_PER_ROUND)]
                published += [event.id for event in events]
                await stack.publish(events)
                # Killed somewhere around its first commits of this life.
                async with asyncio.timeout(FIRST_COMMIT_WAIT_S):
                    while before == await stack.superuser.fetchval(
                        "SELECT coalesce((SELECT size FROM audit.log_state), 0)"
                    ):
                        await asyncio.sleep(0.002)
                await asyncio.sleep(randomness.uniform(0, 0.02))
                service.kill()
            service.start()
            await stack.stored(published, wait_s=FIRST_COMMIT_WAIT_S)
            await stack.signed()
            rows = await stack.superuser.fetch("SELECT index, event_id FROM audit.stored_events ORDER BY index")
            ids = [row["event_id"] for row in rows]
            assert [row["index"] for row in rows] == list(range(len(rows)))
            assert len(ids) == len(set(ids))
            assert set(published) <= set(ids)
            nonces = await stack.superuser.fetch(
                "SELECT substring(record FROM 85 FOR 12) AS n FROM audit.stored_events"
            )
            assert len({row["n"] for row in nonces}) == len(rows)
            assert (await stack.verify()).ok
        finally:
            service.stop()
