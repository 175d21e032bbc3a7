"""Two audit processes on one log: one appends, the other stands by; a paused one that wakes changes nothing."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.audit import AuditStack, bystander
from support.events import hook_event
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.app import build
from hookbus.audit.repository.leading import APPENDER_LOCK_KEY, LEASE_S, FencedError, advance, read_state, try_lead
from hookbus.audit.tree import Frontier
from hookbus.platform.service import running


@pytest.fixture
def two(nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path) -> Iterator[list[ServiceProcess]]:
    processes = [ServiceProcess.audit(tmp_path, nats_server, empty_log) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()


async def epoch(stack: AuditStack) -> int:
    return int(await stack.superuser.fetchval("SELECT coalesce((SELECT epoch FROM audit.log_state), 0)"))


async def holders(stack: AuditStack) -> int:
    return int(
        await stack.superuser.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = $1", APPENDER_LOCK_KEY
        )
    )


async def reaches_epoch(stack: AuditStack, wanted: int, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while await epoch(stack) < wanted:
            await asyncio.sleep(0.05)


async def test_one_appends_and_the_other_takes_over_when_it_is_killed_or_paused(
    two: list[ServiceProcess], nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    """No event is lost, and no change of the lead looks to the signer like a log that was tampered with."""
    first, second = two
    async with bystander(nats_server, empty_log, tmp_path) as stack:
        first.start()
        await reaches_epoch(stack, 1, 60)
        await stack.published([hook_event() for _ in range(20)])
        second.start()
        await asyncio.to_thread(second.wait_ready)
        assert await epoch(stack) == 1
        assert await holders(stack) == 1
        # What is signed now, the one that stands by has not seen signed.
        await stack.published([hook_event() for _ in range(20)])
        await stack.signed()
        # Killed: its connection dies with it, so the other leads at once.
        first.kill()
        await reaches_epoch(stack, 2, LEASE_S)
        await stack.published([hook_event() for _ in range(20)])
        # Paused: its lease runs out, its connection is ended.
        first.start()
        await asyncio.to_thread(first.wait_ready)
        second.signal(signal.SIGSTOP)
        await reaches_epoch(stack, 3, LEASE_S + 10)
        await stack.published([hook_event() for _ in range(20)])
        second.signal(signal.SIGCONT)
        await stack.published([hook_event() for _ in range(20)])
        await asyncio.sleep(1)
        assert await epoch(stack) == 3
        assert await holders(stack) == 1
        await stack.signed()
        assert (await stack.verify()).ok
    assert "refused by the signer" not in (tmp_path / "audit.log").read_text()


async def test_a_process_that_starts_refuses_no_request_that_another_could_answer(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    """Requests are shared from the first moment on: by then the log is open."""
    async with bystander(nats_server, empty_log, tmp_path) as stack, running(build(stack.settings)):
        assert (await stack.verify()).ok


async def test_a_commit_under_an_old_epoch_changes_nothing(
    two: list[ServiceProcess], nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    async with bystander(nats_server, empty_log, tmp_path) as stack:
        two[0].start()
        await reaches_epoch(stack, 1, 60)
        two[0].kill()
        connection = stack.superuser
        async with asyncio.timeout(60):
            # The server ends a dead client's session, and frees its lock, a moment after the client died.
            while (state := await try_lead(connection)) is None:
                await asyncio.sleep(0.05)
        frontier = Frontier().extended([bytes(32)] * (state.frontier.size + 1))
        for epoch_tried, size in ((state.epoch - 1, state.frontier.size), (state.epoch, state.frontier.size + 1)):
            with pytest.raises(FencedError):
                await advance(connection, epoch=epoch_tried, from_size=size, to=frontier, last_time_us=1)
        assert await read_state(connection) == state
        await advance(connection, epoch=state.epoch, from_size=state.frontier.size, to=frontier, last_time_us=1)
        assert await read_state(connection) != state
