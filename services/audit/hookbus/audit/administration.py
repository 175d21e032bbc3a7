"""What changes the log's keys, each change an entry of the log: erasure, and rotation of either key."""

import json
from dataclasses import dataclass
from typing import Final

import structlog

from hookbus.audit.inspection import TYPE_ERASED
from hookbus.audit.keys import KeyUnusableError, subject_of
from hookbus.audit.opened import OpenLog, own_entry, record_handovers
from hookbus.audit.passphrases import KekKind
from hookbus.audit.record import RecordInvalidError, Stream, open_record
from hookbus.audit.repository import keys as key_store
from hookbus.audit.repository import reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.sequencer import Reign
from hookbus.audit.signing.client import SignerAwayError
from hookbus.audit.signing.files import KeyFileError
from hookbus.audit.signing.signer import SigningRefusedError
from hookbus.platform.database.engine import Database

FORGET_ROWS_MAX: Final = 5_000
"""Search rows emptied by one statement."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure took: data keys, and the entries that were readable by them."""

    keys: int
    entries: int


async def erase(opened: OpenLog, database: Database, *, agent: str, actor: str, reason: str) -> Erasure:
    """Leave a tombstone and destroy every data key of an agent, in this order; then empty its search rows.

    The tombstone names the keys, not the agent. Hashes, proofs and checkpoints stand as before.
    """
    keyring = opened.keyring
    subject = subject_of(Stream.HOOKS, agent)

    async def work(reign: Reign) -> Erasure:
        key_ids = await keyring.of_subject(subject)
        if not key_ids:
            return Erasure(0, 0)
        entries = await key_store.entries_under(reign.connection, key_ids)
        erasure = Erasure(len(key_ids), sum(entries.values()))
        tombstone = own_entry(
            "erased",
            {
                "key_ids": [key_id.hex() for key_id in key_ids],
                "entries": erasure.entries,
                "actor": actor,
                "reason": reason,
            },
        )

        async def forget(connection: Connection) -> None:
            await key_store.forget_data_keys(connection, key_ids)

        await key_store.lock_erasures(reign.connection, alone=True)
        try:
            await opened.sequencer.commit(reign, [tombstone], also=forget)
            await keyring.destroy(key_ids)
        finally:
            await key_store.unlock_erasures(reign.connection, alone=True)
        keyring.forget()
        return erasure

    erasure = await opened.sequencer.between_batches(work)
    tag = keyring.blind("agent", agent)
    async with database.raw() as connection:
        while await key_store.forget_terms(connection, tag, FORGET_ROWS_MAX):
            pass
    return erasure


async def finish_erasures(opened: OpenLog, connection: Connection) -> None:
    """Destroy what a tombstone of the log says is destroyed, should it still be there: a crash may have come between
    the two, or the key store may be an old copy. The tombstone itself decides, which no one can make without the keys.
    """
    for index in await key_store.tombstones(connection):
        entry = await reading.read_entry(connection, index)
        key = None if entry is None else (await opened.keyring.open_keys([entry.key_id])).get(entry.key_id)
        if entry is None or key is None:
            continue
        try:
            event = json.loads(open_record(entry.record, entry.detached, key.cipher))
        except RecordInvalidError:
            log.warning("a tombstone was changed: verify the log", index=index)
            continue
        if entry.stream == Stream.LOG and event["type"] == TYPE_ERASED:
            found = await opened.keyring.destroy([bytes.fromhex(key_id) for key_id in event["data"]["key_ids"]])
            if found:
                log.warning("an erasure was finished", index=index, keys=found)


async def rotate_wrapping(opened: OpenLog, *, actor: str, to: KekKind | None) -> int:
    """Wrap every data key under a new key-encryption key, of the kind in use or of the kind ``to``; how many there are.

    Raises:
        ProblemError: ``unavailable``: this process does not lead; nothing is changed.
        KeyUnusableError, KeyFileError: the new one cannot be used; nothing is changed.
    """

    async def work(reign: Reign) -> int | KeyUnusableError | KeyFileError:
        try:
            fresh = await opened.keyring.next_kek(to)
        except (KeyUnusableError, KeyFileError) as error:
            return error  # raised here, it would end the reign
        try:
            count = await opened.keyring.rotate(fresh)
        except KeyUnusableError as error:
            return error
        await opened.sequencer.commit(reign, [own_entry("wrapping_rotated", {"keys": count, "actor": actor})])
        return count

    count = await opened.sequencer.between_batches(work)
    if isinstance(count, Exception):
        raise count
    return count


async def rotate_signing(opened: OpenLog, database: Database, *, actor: str) -> str:
    """Hand over to a new signing key at the newest checkpoint; the note of the handover, which is also an entry.

    Raises:
        ProblemError: ``unavailable``: this process does not lead. The processes of a log share the signer's key, and a
            handover that nobody records would leave every checkpoint after it unexplained.
        SigningRefusedError, SignerAwayError: the signer does not do it.
    """
    await opened.publisher.publish()

    async def work(_reign: Reign) -> str | SigningRefusedError | SignerAwayError:
        try:
            return await opened.signer.rotate()
        except (SigningRefusedError, SignerAwayError) as error:
            return error  # raised here, it would end the reign

    note = await opened.sequencer.between_batches(work)
    if isinstance(note, Exception):
        raise note
    await record_handovers(opened, database, actor)
    await opened.publisher.publish()
    return note
