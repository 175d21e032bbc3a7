"""The log taken back and continued with other entries under its own signature: a note of before finds and proves it."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from support.audit import AuditStack, audit_stack
from support.events import hook_event
from support.servers import NatsFixture, PostgresFixture

from hookbus.audit.bundle import Against, check_bundle
from hookbus.audit.export import CHECKPOINT, CHECKPOINTS, HANDOVERS, Export
from hookbus.audit.forks import check_fork
from hookbus.audit.inspection import FaultError
from hookbus.audit.note import VerifierKey
from hookbus.contracts import audit as wire

TAKE_BACK = """
    DELETE FROM audit.stored_events WHERE index >= {size};
    DELETE FROM audit.entry_lookup WHERE index >= {size};
    DELETE FROM audit.tiles WHERE (number + 1) * 256 > {size};
    DELETE FROM audit.checkpoints WHERE size > {size}
"""


@dataclass
class Fetched:
    """The parts of an export, fetched from a running service."""

    parts: dict[str, bytes]

    def read(self, name: str) -> bytes:
        if name not in self.parts:
            raise FaultError(None, f"{name} is missing")
        return self.parts[name]

    def lines(self, name: str) -> Iterator[bytes]:
        yield from self.read(name).splitlines()

    @classmethod
    async def of(cls, stack: AuditStack) -> "Fetched":
        newest = await stack.signed()
        notes = await stack.rpc.call("audit", "checkpoints", wire.CheckpointsRequest(), wire.CheckpointsReply)
        parts = {
            CHECKPOINT: newest.note.encode(),
            HANDOVERS: json.dumps(list(newest.handovers)).encode(),
            CHECKPOINTS: "".join(json.dumps(note) + "\n" for note in notes.notes).encode(),
        }
        path = f"0/000.p/{newest.size}"
        tile = await stack.rpc.call("audit", "tile", wire.TileRequest(path=path), wire.TileReply)
        return cls(parts | {f"tile/{path}": base64.b64decode(tile.body)})


async def test_a_log_taken_back_and_continued_is_found_and_proven_by_a_note_of_before(
    nats_server: NatsFixture, empty_log: PostgresFixture, tmp_path: Path
):
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published([hook_event() for _ in range(5)])
        old = await stack.signed()
        state = await stack.superuser.fetchrow("SELECT size, frontier FROM audit.log_state")
        assert state is not None
        memory = (tmp_path / "signing.pem.last").read_bytes()
        await stack.published([hook_event() for _ in range(5)])
        late = await stack.signed()
        pinned = VerifierKey.parse(late.verifier_key)
        assert (await stack.verify(checkpoint=late.note)).ok
        # The control: the log's one history, and its own note, give no proof of anything.
        honest = check_bundle(Export(await Fetched.of(stack)), Against(pinned, [old.note, late.note]), leaves=False)
        assert (honest.fault, honest.fork) == (None, None)
    superuser = await asyncpg.connect(empty_log.superuser_url)
    await superuser.execute(TAKE_BACK.format(size=state["size"]))
    await superuser.execute(
        "UPDATE audit.log_state SET size = $1, frontier = $2, latest_note = $3",
        state["size"],
        state["frontier"],
        old.note,
    )
    await superuser.close()
    (tmp_path / "signing.pem.last").write_bytes(memory)
    async with audit_stack(nats_server, empty_log, tmp_path) as stack:
        await stack.published([hook_event() for _ in range(late.size)])
        rewritten = await stack.signed()
        assert rewritten.size > late.size
        # By itself the new history is in order: it is signed, whole, and nothing on the machine contradicts it.
        assert (await stack.verify()).ok
        verdict = await stack.verify(checkpoint=late.note)
        assert not verdict.ok
        assert verdict.first_bad_index == state["size"]
        found = check_bundle(Export(await Fetched.of(stack)), Against(pinned, [late.note]), leaves=False)
    assert found.fault is not None
    assert found.fork is not None
    fork = check_fork(found.fork, pinned)
    assert (fork.earlier.size, fork.later.size) == (late.size, rewritten.size)
    assert late.note in json.loads(found.fork)["notes"]
