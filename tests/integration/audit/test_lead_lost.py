"""Rotations, keys and checkpoints where another process leads, or led meanwhile: nothing half done, no false alarm."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import cast

import asyncpg
import pytest
from support.audit import WAIT_S, AuditStack, audit_settings, bystander
from support.events import hook_event, unique
from support.processes import ServiceProcess
from support.servers import NatsFixture, PostgresFixture
from support.waiting import eventually

from hookbus.audit import administration, sequencer
from hookbus.audit.log import Log
from hookbus.audit.opened import OpenLog
from hookbus.audit.publishing import Publisher
from hookbus.audit.repository.leading import APPENDER_LOCK_KEY, read_state
from hookbus.audit.repository.reading import read_handovers
from hookbus.audit.requests.published import handovers_to
from hookbus.audit.sequencer import Position, Sequencer
from hookbus.audit.settings import AuditSettings
from hookbus.audit.signing.signer import SigningRefusedError
from hookbus.audit.tiles import LogTree
from hookbus.audit.tree import leaf_hash
from hookbus.contracts import audit as wire
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import Database

CALLS_MAX = 60


@asynccontextmanager
async def standby(settings: AuditSettings) -> AsyncGenerator[tuple[OpenLog, Database]]:
    """The log as a second process has it open while the first appends."""
    database = Database("audit", settings)
    log = Log(settings, database)
    try:
        yield await log.open(), database
    finally:
        await log.close()
        await database.close()


def secrets(folder: Path) -> dict[str, bytes]:
    """What a rotation of either key would change or add."""
    names = ("signing.pem", "passphrase")
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith(names)}


async def test_a_process_that_stands_by_refuses_a_rotation_before_anything_is_done(stack: AuditStack, tmp_path: Path):
    """Both keys are shared with the process that leads: a new one that nobody records would stay unexplained."""
    await stack.published([hook_event()])
    await stack.signed()
    async with standby(stack.settings) as (opened, database):
        before = secrets(tmp_path)
        for rotate in (
            administration.rotate_signing(opened, database, actor="tester"),
            administration.rotate_wrapping(opened, actor="tester", to=None),
        ):
            with pytest.raises(ProblemError) as refusal:
                await rotate
            assert refusal.value.problem.code is ProblemCode.UNAVAILABLE
        assert secrets(tmp_path) == before
    reply = await stack.rotate_signing()
    assert (await stack.signed()).handovers == (reply.note,)


async def test_a_process_that_stands_by_names_the_key_that_another_handed_over_to(stack: AuditStack):
    """A checkpoint goes out with every handover up to the key that signed it, whichever process is asked."""
    await stack.published([hook_event()])
    await stack.signed()
    async with standby(stack.settings) as (opened, _):
        await stack.rotate_signing()
        await stack.published([hook_event()])
        signed = await stack.signed()
        assert opened.signer.handovers == ()
        assert await handovers_to(opened, signed.note) == signed.handovers != ()


@pytest.fixture
def two(nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path) -> Iterator[list[ServiceProcess]]:
    processes = [ServiceProcess.audit(tmp_path, nats_server, empty_log) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()


async def test_of_two_processes_whichever_is_asked_every_rotation_answered_is_in_the_log_and_no_other_happened(
    two: list[ServiceProcess], nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    async with bystander(nats_server, empty_log, tmp_path) as stack:
        for process in two:
            process.start()
        await stack.published([hook_event()])
        logs = tmp_path / "audit.log"
        await eventually(lambda: logs.read_text().count("signer started") == len(two), WAIT_S)
        notes: list[str] = []
        refusals: list[ProblemCode] = []
        for _ in range(CALLS_MAX):
            try:
                reply = await stack.rotate_signing()
                notes.append(reply.note)
            except ProblemError as error:
                refusals.append(error.problem.code)
            if min(len(notes), len(refusals)) >= 2:
                break
        assert min(len(notes), len(refusals)) >= 2
        assert set(refusals) == {ProblemCode.UNAVAILABLE}
        assert len((tmp_path / "signing.pem.handovers").read_bytes().splitlines()) == len(notes)
        assert [stored.note for stored in await read_handovers(stack.superuser)] == notes
        assert (await stack.verify()).ok


def later_month(_moment: datetime) -> str:
    return "2099-01"


async def test_a_data_key_made_after_another_process_has_rotated_can_be_read(
    stack: AuditStack, monkeypatch: pytest.MonkeyPatch
):
    """In the first batch of a month nothing that is read beforehand shows that the key-encryption key has moved on."""
    before, after = hook_event(), hook_event(agent_id=unique("agent"))
    await stack.published([before])
    async with standby(stack.settings) as (opened, _):
        await opened.keyring.rotate(await opened.keyring.next_kek(None))
    monkeypatch.setattr(sequencer, "period_of", later_month)
    await stack.published([after])
    reply = await stack.rpc.call(
        "audit", "entries", wire.EntriesRequest(page_items_max=1_000), wire.EntriesReply, timeout_s=10.0
    )
    assert {before.id, after.id} <= {entry.event_id for entry in reply.entries if entry.event is not None}
    assert (await stack.verify()).ok


class Paused:
    """The sequencer of a process that was paused in the middle of publishing, and of what it learns when it wakes."""

    def __init__(self, asleep: Position, awake: Position | None) -> None:
        self._positions = iter((asleep, awake))

    @property
    def position(self) -> Position | None:
        return next(self._positions)


async def position(stack: AuditStack, reigns_since: int) -> Position:
    """Where the log stands, under the epoch of so many reigns ago."""
    state = await read_state(stack.superuser)
    assert state is not None
    rows = await stack.superuser.fetch(
        "SELECT record FROM audit.stored_events ORDER BY index LIMIT $1", state.frontier.size
    )
    tree, _ = LogTree().appended([leaf_hash(row["record"]) for row in rows])
    return Position(state.origin, state.epoch - reigns_since, tree)


def nowhere(_asleep: Position) -> None:
    """It knows already that it does not lead."""


def there_still(asleep: Position) -> Position:
    """It does not know yet."""
    return asleep


def elsewhere(asleep: Position) -> Position:
    """It lost the lead and leads again."""
    return Position(asleep.origin, asleep.epoch + 1, asleep.tree)


@pytest.mark.parametrize(
    ("reigns_since", "awake", "alarm"),
    [(1, there_still, False), (0, nowhere, False), (0, elsewhere, False), (0, there_still, True)],
    ids=["another has led", "the lead is gone", "a later reign", "nobody has led: the log was taken back"],
)
async def test_a_refusal_to_sign_is_an_alarm_only_where_the_process_that_asks_still_leads(
    stack: AuditStack, reigns_since: int, awake: Callable[[Position], Position | None], *, alarm: bool
):
    await stack.published([hook_event()])
    await stack.signed()
    async with standby(stack.settings) as (opened, database):
        asleep = await position(stack, reigns_since)
        await stack.published([hook_event()])
        await stack.signed()
        paused = cast("Sequencer", Paused(asleep, awake(asleep)))
        publisher = Publisher(database, paused, opened.signer, opened.outreach)
        with pytest.raises(SigningRefusedError, match="shrank"):
            await publisher.publish()
        assert (publisher.refused is not None) == alarm


def is_open(log: Log) -> bool:
    try:
        return bool(log.opened)
    except ProblemError:
        return False


async def test_a_process_that_lost_the_lead_takes_its_alarm_back(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    """Readiness and the alert would stand until it leads again, about a log that another process signs meanwhile."""
    settings = audit_settings(nats_server, empty_log, tmp_path)
    database = Database("audit", settings)
    log = Log(settings, database)
    leading = asyncio.create_task(log.lead_forever(()))
    superuser, other = [await asyncpg.connect(empty_log.superuser_url) for _ in range(2)]
    try:
        await eventually(lambda: is_open(log) and log.opened.publisher.published_at_s is not None, WAIT_S)
        opened = log.opened
        opened.publisher.refused = "the log shrank"
        taking = asyncio.create_task(superuser.execute("SELECT pg_advisory_lock($1)", APPENDER_LOCK_KEY))
        await other.execute("UPDATE audit.log_state SET lease_until = 'infinity'")
        await other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = $1",
            APPENDER_LOCK_KEY,
        )
        await taking
        await eventually(lambda: not opened.sequencer.leads, WAIT_S)
        await eventually(lambda: opened.publisher.refused is None, WAIT_S)
        assert not leading.done()
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
        for connection in (superuser, other):
            await connection.close()
        await log.close()
        await database.close()
