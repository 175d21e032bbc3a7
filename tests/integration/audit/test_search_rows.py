"""What entries are found by: whoever changes it hides an entry from every search, and the check with keys says so."""

from pathlib import Path

import asyncpg
import pytest
from support.audit import WAIT_S, AuditStack, audit_stack
from support.events import hook_event, unique
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit import pruning
from hookbus.audit.keyring import Keyring
from hookbus.audit.keystore import KeyStore
from hookbus.audit.passphrases import KekFiles
from hookbus.audit.repository import keys as key_store
from hookbus.audit.repository.leading import Connection
from hookbus.audit.stretches import Opening, Stretch
from hookbus.contracts import audit as wire
from hookbus.contracts.events import Kind

ROWS_MAX = 5_000


async def found(stack: AuditStack, **filters: str) -> list[str]:
    request = wire.EntriesRequest.model_validate(filters)
    reply = await stack.rpc.call("audit", "entries", request, wire.EntriesReply, timeout_s=WAIT_S)
    return [entry.event_id for entry in reply.entries]


async def erase(stack: AuditStack, agent: str) -> wire.EraseReply:
    request = wire.EraseRequest(agent_id=agent, actor="tester", reason="asked to")
    return await stack.rpc.call("audit", "erase", request, wire.EraseReply, timeout_s=WAIT_S)


async def place(stack: AuditStack, event_id: str) -> int:
    return int(await stack.superuser.fetchval("SELECT index FROM audit.entry_lookup WHERE event_id = $1", event_id))


async def agent_tag(stack: AuditStack, agent: str) -> bytes:
    """The tag that the log's own key makes of a name."""
    state = await stack.superuser.fetchval("SELECT log_id FROM audit.log_state")
    settings = stack.settings
    files = KekFiles(settings.audit_passphrase_file, settings.audit_kek_file, bytes)
    keyring = await Keyring.open(stack.superuser, KeyStore(settings.audit_keys_file, state), files, bytes)
    return keyring.blind("agent", agent)


async def test_an_entry_that_the_services_own_role_hides_is_found_with_keys(stack: AuditStack):
    """The role may empty search terms, for erasures: of an entry that is not erased nobody may."""
    agent = unique("agent")
    event = hook_event(agent_id=agent, session="s-1", project="p-1")
    await stack.published([event, hook_event(agent_id=agent)])
    await stack.signed()
    assert event.id in await found(stack, agent=agent)
    assert (await stack.verify()).ok
    role = await asyncpg.connect(stack.postgres.database_url("audit"))
    try:
        index = await place(stack, event.id)
        await role.execute(
            "UPDATE audit.entry_lookup SET agent = NULL, session = NULL, project = NULL WHERE index = $1", index
        )
    finally:
        await role.close()
    assert event.id not in await found(stack, agent=agent)
    verdict = await stack.verify()
    assert (verdict.ok, verdict.first_bad_index) == (False, index)
    assert "search row" in str(verdict.fault)
    # Without keys nobody can tell: docs/security-model.md says so.
    assert (await stack.verify(decrypt=False)).ok


async def test_a_tombstone_that_was_given_another_kind_is_found(stack: AuditStack):
    """It would be overlooked when erasures are carried out anew on an old key file."""
    agent = unique("gone")
    await stack.published([hook_event(agent_id=agent)])
    await erase(stack, agent)
    await stack.signed()
    assert (await stack.verify()).ok
    index = await stack.superuser.fetchval(
        "UPDATE audit.entry_lookup SET kind = 'audit.pruned' WHERE kind = 'audit.erased' RETURNING index"
    )
    verdict = await stack.verify()
    assert (verdict.ok, verdict.first_bad_index) == (False, index)
    assert "kind" in str(verdict.fault)


async def test_every_kind_of_entry_is_compared_and_fits(stack: AuditStack):
    """Decisions, statuses, reads, the log's own entries: no false alarm for what the log wrote itself."""
    agent = unique("agent")
    status = hook_event(Kind.POST_TASK, agent_id=agent, data={"status": "o\x00k" + "x" * 100})
    decided = hook_event(agent_id=agent, session="s").model_copy(update={"decision": "deny"})
    await stack.published([status, decided, *(hook_event(kind, agent_id=agent, project="p") for kind in Kind)])
    assert len(await found(stack, agent=agent)) == len(Kind) + 2
    handed = wire.RotateRequest()
    await stack.rpc.call("audit", "rotate_signing", handed, wire.RotateSigningReply, timeout_s=WAIT_S)
    wrapped = wire.RotateWrappingRequest()
    await stack.rpc.call("audit", "rotate_wrapping", wrapped, wire.RotateWrappingReply, timeout_s=WAIT_S)
    await erase(stack, agent)
    await stack.published([hook_event(agent_id=agent)])
    await stack.signed()
    assert (await stack.verify()).fault is None


async def test_what_an_agent_writes_after_its_erasure_goes_on_being_found(stack: AuditStack):
    """The terms of what was erased are emptied beside the appends: what comes under a new key keeps its own."""
    agent = unique("back")
    gone, stays = hook_event(agent_id=agent), hook_event(agent_id=agent)
    await stack.published([gone])
    tag = await agent_tag(stack, agent)
    assert (await erase(stack, agent)).keys == 1
    await stack.published([stays])
    # As an erasure that is still at it when the agent writes again.
    assert await key_store.forget_terms(stack.superuser, tag, ROWS_MAX) == 0
    assert await found(stack, agent=agent) == [stays.id]
    assert (await stack.verify()).fault is None


async def test_an_agent_of_the_logs_own_name_cannot_hide_what_the_log_says_of_itself(stack: AuditStack):
    await stack.published([hook_event(agent_id="hookbus-audit")])
    await erase(stack, "hookbus-audit")
    own = await stack.superuser.fetch("SELECT agent FROM audit.entry_lookup WHERE stream = 0")
    assert own
    assert all(row["agent"] is not None for row in own)
    assert (await stack.verify()).fault is None


async def test_an_erasure_while_pruning_checks_what_is_to_go_is_no_tampering(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It empties search terms of entries whose keys are at hand: one state of both is checked."""
    agent = unique("gone")
    erasures: list[wire.EraseReply] = []
    async with audit_stack(nats_server, empty_log, tmp_path, audit_partition_entries=256) as stack:
        await stack.published([hook_event(agent_id=agent) for _ in range(300)])
        await stack.signed()
        inspect = pruning.inspect

        async def after_an_erasure(
            connection: Connection, log_id: bytes, opening: Opening | None, first: int, end: int
        ) -> Stretch:
            erasures.append(await erase(stack, agent))
            return await inspect(connection, log_id, opening, first, end)

        monkeypatch.setattr(pruning, "inspect", after_an_erasure)
        request = wire.PruneRequest(below=256, actor="tester")
        pruned = await stack.rpc.call("audit", "prune", request, wire.PruneReply, timeout_s=WAIT_S)
        assert (pruned.cut, erasures[0].keys) == (256, 1)
        await stack.signed()
        assert (await stack.verify()).fault is None
