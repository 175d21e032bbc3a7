"""Erasure and rotation on the running service: what is erased stays so, and every proof still holds."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.audit import AuditStack, audit_stack
from support.events import hook_event, unique
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.keys import KeyUnusableError
from hookbus.audit.log import Log
from hookbus.audit.note import NoteInvalidError, SignedNote, VerifierKey, sign_text
from hookbus.audit.signing.files import load_key_file
from hookbus.audit.trust import Trust
from hookbus.contracts import audit as wire
from hookbus.platform.database.engine import Database


async def entries_of(stack: AuditStack, agent: str | None = None) -> list[wire.Entry]:
    reply = await stack.rpc.call(
        "audit", "entries", wire.EntriesRequest(agent=agent, page_items_max=1_000), wire.EntriesReply
    )
    return list(reply.entries)


def wrapped_keys(folder: Path) -> set[bytes]:
    """The data keys at rest, as they lie in the key store."""
    with closing(sqlite3.connect(folder / "keys.sqlite")) as store:
        return {row[0] for row in store.execute("SELECT wrapped FROM data_keys")}


async def erase(stack: AuditStack, agent: str) -> wire.EraseReply:
    return await stack.rpc.call(
        "audit", "erase", wire.EraseRequest(agent_id=agent, actor="tester", reason="asked to"), wire.EraseReply
    )


async def test_an_erased_agent_is_unreadable_and_the_log_still_verifies(stack: AuditStack):
    gone, stays = unique("gone"), unique("stays")
    events = [hook_event(agent_id=agent) for _ in range(20) for agent in (gone, stays)]
    await stack.published(events)
    before = await stack.signed()
    rows = await stack.superuser.fetch(
        "SELECT index FROM audit.stored_events WHERE event_id = ANY($1) ORDER BY index",
        [event.id for event in events if event.subject == gone],
    )
    erased = [row["index"] for row in rows]
    reply = await erase(stack, gone)
    assert (reply.keys, reply.entries) == (1, 20)
    assert await entries_of(stack, gone) == []
    assert len(await entries_of(stack, stays)) == 20
    everything = await entries_of(stack)
    assert [entry.index for entry in everything if entry.event is None] == erased
    assert (await stack.verify(checkpoint=before.note)).ok
    # The tombstone says what was destroyed, not whose it was.
    own = [entry.event for entry in everything if entry.event and entry.event["source"] == "hookbus/audit"]
    (tombstone,) = [event for event in own if event["type"] == "dev.hookbus.audit.erased.v1"]
    assert gone not in json.dumps(tombstone)
    # Its keys are nowhere in the database, and a later event of the same agent has a new one.
    await stack.published([hook_event(agent_id=gone)])
    assert len(await entries_of(stack, gone)) == 1
    assert (await stack.verify()).ok
    # What was asked about it meanwhile is encrypted with its new key, and goes with it.
    assert (await erase(stack, gone)).entries >= 1


async def test_erasing_an_agent_the_log_does_not_know_changes_nothing(stack: AuditStack):
    size = await stack.size()
    assert (await erase(stack, unique("nobody"))).keys == 0
    assert await stack.size() == size


async def test_an_agent_cannot_erase_the_logs_own_entries_by_its_name(stack: AuditStack):
    await stack.published([hook_event(agent_id="hookbus-audit")])
    await erase(stack, "hookbus-audit")
    assert (await stack.verify()).ok


async def test_the_passphrase_is_rotated_without_touching_an_entry(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    agent = unique("agent")
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published([hook_event(agent_id=agent) for _ in range(10)])
        old = (tmp_path / "passphrase").read_bytes()
        records = await stack.superuser.fetch("SELECT index, record FROM audit.stored_events ORDER BY index")
        wrapped = wrapped_keys(tmp_path)
        reply = await stack.rpc.call("audit", "rotate_wrapping", wire.RotateWrappingRequest(), wire.RotateWrappingReply)
        assert reply.keys == len(wrapped)
        assert (tmp_path / "passphrase").read_bytes() != old
        assert not (tmp_path / "passphrase.next").exists()
        now = await stack.superuser.fetch("SELECT index, record FROM audit.stored_events ORDER BY index")
        assert now[: len(records)] == records
        assert not wrapped & wrapped_keys(tmp_path)
        assert len(await entries_of(stack, agent)) == 10
        await stack.published([hook_event(agent_id=agent)])
        assert (await stack.verify()).ok
    async with audit_stack(nats_server, empty_log, tmp_path) as second:
        assert len(await entries_of(second, agent)) == 11
        assert (await second.verify()).ok


async def test_a_rotation_that_died_before_its_file_was_in_place_is_finished(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published([hook_event()])
        old = (tmp_path / "passphrase").read_bytes()
        await stack.rpc.call("audit", "rotate_wrapping", wire.RotateWrappingRequest(), wire.RotateWrappingReply)
    new = (tmp_path / "passphrase").read_bytes()
    # As a crash between the commit and the file leaves it.
    (tmp_path / "passphrase").write_bytes(old)
    (tmp_path / "passphrase.next").write_bytes(new)
    (tmp_path / "passphrase.next").chmod(0o600)
    async with audit_stack(nats_server, empty_log, tmp_path) as second:
        assert (await second.verify()).ok
    assert (tmp_path / "passphrase").read_bytes() == new
    assert not (tmp_path / "passphrase.next").exists()


async def test_a_wrong_passphrase_opens_nothing(stack: AuditStack, tmp_path: Path):
    await stack.published([hook_event()])
    (tmp_path / "passphrase").write_bytes(b"a passphrase of somebody else\n")
    database = Database("audit", stack.settings)
    try:
        with pytest.raises(KeyUnusableError, match="not the one"):
            await Log(stack.settings, database).open()
    finally:
        await database.close()


async def test_weakened_parameters_in_the_key_store_are_refused(stack: AuditStack, tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "keys.sqlite")) as store, store:
        store.execute("UPDATE key_encryption_keys SET iterations = 1000")
    database = Database("audit", stack.settings)
    try:
        with pytest.raises(KeyUnusableError, match="below the floor"):
            await Log(stack.settings, database).open()
    finally:
        await database.close()


async def test_the_signing_key_is_handed_over_and_each_speaks_for_its_epoch_alone(stack: AuditStack, tmp_path: Path):
    key_file = tmp_path / "signing.pem"
    await stack.published([hook_event() for _ in range(5)])
    first = await stack.signed()
    pinned = VerifierKey.parse(first.verifier_key)
    old_private = load_key_file(key_file)
    for _ in range(2):
        reply = await stack.rpc.call(
            "audit", "rotate_signing", wire.RotateRequest(actor="tester"), wire.RotateSigningReply, timeout_s=10.0
        )
        assert "handover" in reply.note
        await stack.published([hook_event() for _ in range(5)])
    last = await stack.signed()
    assert last.verifier_key == first.verifier_key
    assert len(last.handovers) == 2
    trust = Trust(pinned.name, pinned, last.handovers)
    assert trust.open(first.note).checkpoint.size == first.size
    assert trust.open(last.note).checkpoint.size == last.size
    # The old private key is gone from its folder ...
    assert load_key_file(key_file).private_bytes_raw() != old_private.private_bytes_raw()
    assert all(old_private.private_bytes_raw() not in path.read_bytes() for path in tmp_path.iterdir())
    # ... and had somebody kept it, it could not speak for what came after.
    forged = SignedNote(SignedNote.parse(last.note).text, ())
    forged = forged.with_signatures([sign_text(forged.text, pinned, old_private)])
    with pytest.raises(NoteInvalidError):
        trust.open(str(forged))
    # The new key, without the note of the old one, is nobody's.
    with pytest.raises(NoteInvalidError):
        Trust(pinned.name, pinned).open(last.note)
    with pytest.raises(NoteInvalidError):
        Trust(pinned.name, pinned, last.handovers[1:])
    assert (await stack.verify(checkpoint=first.note)).ok
    entries = [entry.event for entry in await entries_of(stack)]
    assert sum(event is not None and event["type"] == "dev.hookbus.audit.key_handover.v1" for event in entries) == 2


async def test_a_handover_outlives_a_restart(nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path):
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published([hook_event()])
        first = await stack.signed()
        await stack.rotate_signing()
    async with audit_stack(nats_server, empty_log, tmp_path) as second:
        await second.published([hook_event()])
        assert (await second.verify(checkpoint=first.note)).ok
        assert len((await second.signed()).handovers) == 1
