"""The keys' own store: no copy of the database holds a key, and no copy of either brings back what was erased."""

import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.audit import AuditStack, audit_stack
from support.events import hook_event, unique
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.keys import KekParameters, KeyUnusableError, commitment_of, load_file_kek, load_kek
from hookbus.audit.keystore import KeyStore
from hookbus.audit.log import Log
from hookbus.audit.signing.files import KeyFileError
from hookbus.contracts import audit as wire
from hookbus.contracts.events import Event
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import Database

STORE = "keys.sqlite"


def rows(folder: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / STORE)) as store, store:
        return store.execute(statement, values).fetchall()


async def readable(stack: AuditStack, events: Sequence[Event]) -> list[bool]:
    """Whether each of these events can be read in the log."""
    reply = await stack.rpc.call(
        "audit", "entries", wire.EntriesRequest(page_items_max=1_000), wire.EntriesReply, timeout_s=10.0
    )
    by_id = {entry.event_id: entry.event for entry in reply.entries}
    return [by_id[event.id] is not None for event in events]


async def erase(stack: AuditStack, agent: str) -> wire.EraseReply:
    return await stack.rpc.call("audit", "erase", wire.EraseRequest(agent_id=agent), wire.EraseReply, timeout_s=10.0)


async def rotate(stack: AuditStack, to: str | None) -> wire.RotateWrappingReply:
    request = wire.RotateWrappingRequest.model_validate({"to": to})
    return await stack.rpc.call("audit", "rotate_wrapping", request, wire.RotateWrappingReply, timeout_s=10.0)


async def opened(stack: AuditStack, **settings: object) -> None:
    """Open the log as a further process would; raises what that meets."""
    database = Database("audit", stack.settings)
    try:
        await Log(stack.settings.model_copy(update=settings), database).open()
    finally:
        await database.close()


async def test_no_table_of_the_database_holds_a_wrapped_key(stack: AuditStack, tmp_path: Path):
    await stack.published([hook_event() for _ in range(10)])
    secrets = [row[0] for row in rows(tmp_path, "SELECT wrapped FROM data_keys")]
    secrets += [row[0] for row in rows(tmp_path, "SELECT search_key_wrapped FROM key_encryption_keys")]
    assert len(secrets) >= 3
    tables = await stack.superuser.fetch(
        "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = 'audit'"
    )
    for table in tables:
        for row in await stack.superuser.fetch(f"SELECT t::text AS text FROM {table['name']} t"):
            assert not any(secret.hex() in row["text"] for secret in secrets), table["name"]
    assert (tmp_path / STORE).stat().st_mode & 0o777 == 0o600


async def test_neither_an_old_database_nor_an_old_key_store_undoes_an_erasure(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    agent = unique("agent")
    gone, stays = [hook_event(agent_id=agent) for _ in range(5)], [hook_event(agent_id=unique("other"))]
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published([*gone, *stays])
        assert await readable(stack, [*gone, *stays]) == [True] * 6
        shutil.copy(tmp_path / STORE, tmp_path / "old-copy")
        await stack.superuser.execute("CREATE TABLE public.old_keys AS TABLE audit.data_keys")
        assert (await erase(stack, agent)).entries == 5
        # Somebody brings back the database's list of keys ...
        await stack.superuser.execute(
            "INSERT INTO audit.data_keys SELECT * FROM public.old_keys ON CONFLICT DO NOTHING"
        )
        await stack.superuser.execute("DROP TABLE public.old_keys")
        assert await readable(stack, [*gone, *stays]) == [False] * 5 + [True]
    # ... or the store as it was.
    shutil.copy(tmp_path / "old-copy", tmp_path / STORE)
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        assert await readable(stack, [*gone, *stays]) == [False] * 5 + [True]


async def test_a_destroyed_key_is_overwritten_in_its_file(stack: AuditStack, tmp_path: Path):
    agent = unique("agent")
    await stack.published([hook_event(agent_id=unique("other"))])
    before = {row[0] for row in rows(tmp_path, "SELECT wrapped FROM data_keys")}
    await stack.published([hook_event(agent_id=agent)])
    (wrapped,) = {row[0] for row in rows(tmp_path, "SELECT wrapped FROM data_keys")} - before
    assert wrapped in (tmp_path / STORE).read_bytes()
    await erase(stack, agent)
    assert wrapped not in (tmp_path / STORE).read_bytes()


async def test_keys_of_the_version_before_move_out_of_the_database(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    events = [hook_event(agent_id=unique("agent")) for _ in range(5)]
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published(events)
        # As the version before left them.
        for kek_id, *kek in rows(
            tmp_path, "SELECT kek_id, kdf, iterations, salt, check_value, search_key_wrapped FROM key_encryption_keys"
        ):
            await stack.superuser.execute(
                "INSERT INTO audit.key_encryption_keys VALUES ($1, $2, $3, $4, $5, $6)", kek_id, *kek
            )
        for key_id, kek_id, wrapped in rows(tmp_path, "SELECT key_id, kek_id, wrapped FROM data_keys"):
            await stack.superuser.execute(
                "UPDATE audit.data_keys SET kek_id = $2, wrapped = $3 WHERE key_id = $1", key_id, kek_id, wrapped
            )
    (tmp_path / STORE).unlink()
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        assert await readable(stack, events) == [True] * 5
        await stack.published([hook_event(agent_id=events[0].subject)])
        assert (await stack.verify()).ok
        left = "SELECT (SELECT count(wrapped) FROM audit.data_keys) + (SELECT count(*) FROM audit.key_encryption_keys)"
        assert await stack.superuser.fetchval(left) == 0


async def test_a_lost_key_store_is_not_made_up_anew(stack: AuditStack, tmp_path: Path):
    await stack.published([hook_event()])
    await opened(stack)
    shutil.move(tmp_path / STORE, tmp_path / "elsewhere")
    with pytest.raises(KeyUnusableError, match="restore it"):
        await opened(stack)


async def test_a_key_store_that_others_may_read_or_of_another_log_is_refused(stack: AuditStack, tmp_path: Path):
    (tmp_path / STORE).chmod(0o640)
    with pytest.raises(KeyFileError, match="others may read"):
        await opened(stack)
    (tmp_path / STORE).chmod(0o600)
    await opened(stack)
    with pytest.raises(KeyFileError, match="another log"):
        await KeyStore(tmp_path / STORE, os.urandom(16)).open()


async def test_a_key_that_is_gone_without_a_tombstone_is_found(stack: AuditStack, tmp_path: Path):
    agent = unique("agent")
    await stack.published([hook_event(agent_id=agent) for _ in range(3)])
    row = await stack.superuser.fetchrow(
        "SELECT key_id, min(index) AS first FROM audit.stored_events WHERE stream = 1 GROUP BY key_id"
    )
    assert row is not None
    assert (await stack.verify()).ok
    rows(tmp_path, "DELETE FROM data_keys WHERE key_id = ?", row["key_id"])
    verdict = await stack.verify()
    assert (verdict.ok, verdict.first_bad_index) == (False, row["first"])
    assert "without an erasure" in str(verdict.fault)


async def test_a_key_that_was_swapped_by_whoever_has_the_passphrase_is_found(stack: AuditStack, tmp_path: Path):
    """Wrapped under the right key-encryption key, with a commitment that fits: only the log's own entries tell."""
    await stack.published([hook_event()])
    await stack.signed()
    assert (await stack.verify()).ok
    (parameters,) = rows(tmp_path, "SELECT salt, iterations, check_value FROM key_encryption_keys")
    passphrase = (tmp_path / "passphrase").read_bytes().rstrip()
    kek = load_kek(passphrase, KekParameters(*parameters))
    key_id = await stack.superuser.fetchval("SELECT key_id FROM audit.stored_events WHERE stream = 1")
    key = os.urandom(32)
    rows(
        tmp_path,
        "UPDATE data_keys SET wrapped = ?, commitment = ? WHERE key_id = ?",
        kek.wrap(key),
        commitment_of(key_id, key),
        key_id,
    )
    verdict = await stack.verify()
    assert not verdict.ok
    assert "decrypt" in str(verdict.fault)


async def test_the_wrapping_turns_from_a_passphrase_to_a_key_file_and_back(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    events = [hook_event(), hook_event(agent_id=unique("agent"))]
    key_file = tmp_path / "kek"
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published(events)
        with pytest.raises(ProblemError, match="HOOKBUS_AUDIT_KEK_FILE") as problem:
            await rotate(stack, "key-file")
        assert problem.value.problem.code is ProblemCode.CONFLICT
        # A refusal ends nothing.
        await stack.published([hook_event()])
    async with audit_stack(nats_server, empty_log, tmp_path, audit_kek_file=key_file) as stack:
        assert await readable(stack, events) == [True] * 2
        await rotate(stack, "key-file")
        assert not (tmp_path / "passphrase").exists()
        first = key_file.read_bytes()
        assert (len(first), key_file.stat().st_mode & 0o777) == (32, 0o600)
        await rotate(stack, None)
        assert len({first, key_file.read_bytes()}) == 2
        await stack.published([hook_event()])
        assert (await stack.verify()).ok
    key = key_file.read_bytes()
    async with audit_stack(nats_server, empty_log, tmp_path, audit_kek_file=key_file) as stack:
        assert await readable(stack, events) == [True] * 2
        await refused_key_files(stack, key_file, key)
        await rotate(stack, "passphrase")
        assert not key_file.exists()
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        assert await readable(stack, events) == [True] * 2
        assert (await stack.verify()).ok


async def refused_key_files(stack: AuditStack, key_file: Path, key: bytes) -> None:
    """A key file that is wrong in any way opens nothing."""
    for body, words in ((os.urandom(32), "not the one"), (key[:31], "exactly 32"), (key + b"\n", "exactly 32")):
        key_file.write_bytes(body)
        with pytest.raises(KeyUnusableError, match=words):
            await opened(stack)
    key_file.write_bytes(key)
    key_file.chmod(0o644)
    with pytest.raises(KeyFileError, match="others may read"):
        await opened(stack)
    key_file.chmod(0o600)
    with pytest.raises(KeyUnusableError, match="no key file is set"):
        await opened(stack, audit_kek_file=None)
    await opened(stack)


async def test_a_new_log_begins_with_the_key_file_that_is_set(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    key_file = tmp_path / "kek"
    async with audit_stack(nats_server, empty_log, tmp_path, audit_kek_file=key_file) as stack:
        await stack.published([hook_event()])
        assert (await stack.verify()).ok
        assert not (tmp_path / "passphrase").exists()
        stored = await KeyStore(
            tmp_path / STORE, await stack.superuser.fetchval("SELECT log_id FROM audit.log_state")
        ).read_kek()
        assert stored is not None
        assert load_file_kek(key_file.read_bytes(), stored.parameters).check == stored.parameters.check
