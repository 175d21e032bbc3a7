"""What changes the log's keys, each change an entry of the log: erasure, and rotation of either key."""

from dataclasses import dataclass
from typing import Final

from hookbus.audit.keys import subject_of
from hookbus.audit.opened import OpenLog, own_entry, record_handovers
from hookbus.audit.record import Stream
from hookbus.audit.repository import keys as key_store
from hookbus.audit.repository.leading import Connection
from hookbus.audit.sequencer import Reign
from hookbus.platform.database.engine import Database

FORGET_ROWS_MAX: Final = 5_000
"""Search rows emptied by one statement."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure took: data keys, and the entries that were readable by them."""

    keys: int
    entries: int


async def erase(opened: OpenLog, database: Database, *, agent: str, actor: str, reason: str) -> Erasure:
    """Destroy every data key of an agent and leave a tombstone, in one transaction; then empty its search rows.

    The tombstone names the keys, not the agent. Hashes, proofs and checkpoints stand as before.
    """
    keyring = opened.keyring
    subject = keyring.blind("subject", subject_of(Stream.HOOKS, agent))

    async def work(reign: Reign) -> Erasure:
        found = await key_store.subject_keys(reign.connection, subject)
        key_ids = [key_id for key_id, _ in found]
        if not found:
            return Erasure(0, 0)
        erasure = Erasure(len(found), sum(entries for _, entries in found))
        tombstone = own_entry(
            "erased",
            {
                "key_ids": [key_id.hex() for key_id in key_ids],
                "entries": erasure.entries,
                "actor": actor,
                "reason": reason,
            },
        )

        async def destroy(connection: Connection) -> None:
            await key_store.destroy_data_keys(connection, key_ids)

        await opened.sequencer.commit(reign, [tombstone], also=destroy)
        keyring.forget()
        return erasure

    erasure = await opened.sequencer.between_batches(work)
    tag = keyring.blind("agent", agent)
    async with database.raw() as connection:
        while await key_store.forget_terms(connection, tag, FORGET_ROWS_MAX):
            pass
    return erasure


async def rotate_wrapping(opened: OpenLog, *, actor: str) -> int:
    """Wrap every data key under a new passphrase; how many there are."""

    async def work(reign: Reign) -> int:
        count = await opened.keyring.rotate(reign.connection)
        await opened.sequencer.commit(reign, [own_entry("wrapping_rotated", {"keys": count, "actor": actor})])
        return count

    return await opened.sequencer.between_batches(work)


async def rotate_signing(opened: OpenLog, database: Database, *, actor: str) -> str:
    """Hand over to a new signing key at the newest checkpoint; the note of the handover, which is also an entry."""
    await opened.publisher.publish()
    note = await opened.signer.rotate()
    await record_handovers(opened, database, actor)
    await opened.publisher.publish()
    return note
