"""A live log with more checkpoints than one page: each is compared, whichever page and stretch it falls into."""

from dataclasses import dataclass

import pytest
from support.audit import AuditStack
from support.events import hook_event

from hookbus.audit import checking, checkpoints
from hookbus.audit.note import Checkpoint, SignedNote, VerifierKey, sign_text
from hookbus.audit.signing.files import load_key_file
from hookbus.audit.tree import Frontier
from hookbus.contracts import audit as wire
from hookbus.contracts.audit import VerifyDepth

ENTRIES = 600
PAGE = 7


@dataclass
class Signed:
    """A checkpoint the log's own key signed, as a row of the table."""

    size: int
    root: bytes
    note: str


async def signed_at_every_size(stack: AuditStack) -> list[Signed]:
    """A checkpoint of each size there is, as if the log had signed after each entry."""
    newest = await stack.signed()
    key = VerifierKey.parse(newest.verifier_key)
    private = load_key_file(stack.settings.audit_signing_key_file)
    rows = await stack.superuser.fetch("SELECT leaf_hash FROM audit.stored_events ORDER BY index")
    tree = Frontier()
    found: list[Signed] = []
    for row in rows:
        tree = tree.extended([row["leaf_hash"]])
        text = Checkpoint(key.name, tree.size, tree.root).text
        found.append(Signed(tree.size, tree.root, str(SignedNote(text, (sign_text(text, key, private),)))))
    return found


async def verify(stack: AuditStack, depth: VerifyDepth) -> wire.VerifyReply:
    request = wire.VerifyRequest(depth=depth)
    return await stack.rpc.call("audit", "verify", request, wire.VerifyReply, timeout_s=60.0)


@pytest.mark.parametrize("processes", [False, True], ids=["alone", "in several processes"])
async def test_each_of_many_checkpoints_is_compared(
    stack: AuditStack, monkeypatch: pytest.MonkeyPatch, *, processes: bool
):
    monkeypatch.setattr(checkpoints, "CHECKPOINTS_AT_ONCE", PAGE)
    monkeypatch.setattr(checking, "STRETCH_ENTRIES", 256)
    if processes:
        monkeypatch.setattr(checking, "PARALLEL_ENTRIES_MIN", 0)
    await stack.published([hook_event() for _ in range(ENTRIES)])
    signed = await signed_at_every_size(stack)
    await stack.superuser.executemany(
        "INSERT INTO audit.checkpoints (size, root, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        [(item.size, item.root, item.note) for item in signed],
    )
    for depth in VerifyDepth:
        reply = await verify(stack, depth)
        assert (reply.fault, reply.checked) == (None, reply.size)
    # The first and last of a page and of a stretch, and the very last: a tree that the log never had, signed all right.
    sizes = [1, PAGE, PAGE + 1, 255, 256, 257, 511, len(signed)]
    key = VerifierKey.parse((await stack.signed()).verifier_key)
    private = load_key_file(stack.settings.audit_signing_key_file)
    for size in sizes:
        text = Checkpoint(key.name, size, bytes(32)).text
        note = str(SignedNote(text, (sign_text(text, key, private),)))
        await stack.superuser.execute(
            "UPDATE audit.checkpoints SET root = $2, note = $3 WHERE size = $1", size, bytes(32), note
        )
        for depth in VerifyDepth if not processes else (VerifyDepth.LEAVES,):
            reply = await verify(stack, depth)
            assert f"signed checkpoint of size {size}" in str(reply.fault), depth
        right = signed[size - 1]
        await stack.superuser.execute(
            "UPDATE audit.checkpoints SET root = $2, note = $3 WHERE size = $1", size, right.root, right.note
        )
    assert (await verify(stack, VerifyDepth.LEAVES)).ok


async def test_a_checkpoint_of_more_than_the_log_holds_is_missed_at_every_depth(stack: AuditStack):
    await stack.published([hook_event() for _ in range(20)])
    newest = await stack.signed()
    key = VerifierKey.parse(newest.verifier_key)
    private = load_key_file(stack.settings.audit_signing_key_file)
    text = Checkpoint(key.name, newest.size + 1_000, bytes(32)).text
    note = str(SignedNote(text, (sign_text(text, key, private),)))
    await stack.superuser.execute(
        "INSERT INTO audit.checkpoints (size, root, note) VALUES ($1, $2, $3)", newest.size + 1_000, bytes(32), note
    )
    for depth in VerifyDepth:
        reply = await verify(stack, depth)
        assert not reply.ok
        assert f"checkpoint of {newest.size + 1_000} entries" in str(reply.fault)
