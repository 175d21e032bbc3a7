"""What only key holders may read: entries and receipts."""

import asyncio
import base64
import json
from dataclasses import replace
from typing import Final, cast

from pydantic import JsonValue

from hookbus.audit.entries import StoredEntry
from hookbus.audit.keys import DataKey
from hookbus.audit.log import Log
from hookbus.audit.note import Checkpoint, SignedNote
from hookbus.audit.opened import OpenLog
from hookbus.audit.proofs import inclusion_proof
from hookbus.audit.reads import ReadRecorder
from hookbus.audit.receipt import write_receipt
from hookbus.audit.record import RecordInvalidError, Stream, from_microseconds, open_record
from hookbus.audit.repository import pruning, reading
from hookbus.audit.requests.published import handovers_to, require_kept
from hookbus.audit.signing.client import SignerAwayError
from hookbus.audit.signing.signer import SigningRefusedError
from hookbus.contracts import audit as wire
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcServer
from hookbus.platform.database.engine import Database

CHECKPOINT_WAIT_S: Final = 3.0
"""How long a receipt waits for the checkpoint that covers its entry."""
CHECKPOINT_POLL_S: Final = 0.1
PAGE_BYTES_MAX: Final = 512 * 1024
"""Events in one reply; the bus carries a message of a megabyte."""
STREAM_BY_WORD: Final = {
    wire.EntryStream.HOOKS: Stream.HOOKS,
    wire.EntryStream.SECURITY: Stream.SECURITY,
    wire.EntryStream.LOG: Stream.LOG,
}


class ReadingRequests:
    """The RPC methods that find entries, and decrypt them."""

    def __init__(self, database: Database, log: Log, reads: ReadRecorder) -> None:
        self._database = database
        self._log = log
        self._reads = reads

    def register(self, server: RpcServer) -> None:
        """Answer every method."""
        server.method("entries", wire.EntriesRequest, self.entries)
        server.method("receipt", wire.ReceiptRequest, self.receipt)

    async def entries(self, request: wire.EntriesRequest) -> wire.EntriesReply:
        """Decrypted entries that match, in the order asked for."""
        await self._reads.record(request)
        opened = self._log.opened
        keyring = opened.keyring

        def tag(field: str, value: str | None) -> bytes | None:
            return None if value is None else keyring.blind(field, value)

        newest_first = request.order is wire.Order.NEWEST
        place = _cursor_index(request.cursor)
        query = reading.Query(
            after=-1 if newest_first or place is None else place,
            before=place if newest_first else None,
            newest_first=newest_first,
            stream=None if request.stream is None else STREAM_BY_WORD[request.stream],
            agent=tag("agent", request.agent),
            session=tag("session", request.session),
            project=tag("project", request.project),
            kind=request.kind,
            outcome=request.outcome,
            since=request.since,
            until=request.until,
            rows_max=request.page_items_max + 1,
        )
        async with self._database.raw() as connection:
            query = replace(query, after=max(query.after, await pruning.pruned_below(connection) - 1))
            rows = await reading.find_entries(connection, query)
            more = len(rows) > request.page_items_max
            rows = rows[: request.page_items_max]
            keys = await keyring.open_keys({row.key_id for row in rows})
        found: list[wire.Entry] = []
        size_bytes = 0
        for row in rows:
            key = keys.get(row.key_id)
            body = None if key is None else _decrypted(row, key)
            size_bytes += len(body or b"")
            if found and size_bytes > PAGE_BYTES_MAX:
                more = True
                break
            found.append(_entry(row, body))
        return wire.EntriesReply(entries=tuple(found), cursor=str(found[-1].index) if more else None)

    async def receipt(self, request: wire.ReceiptRequest) -> wire.ReceiptReply:
        """Where an event lies, with a proof against a checkpoint that covers it."""
        opened = self._log.opened
        async with self._database.raw() as connection:
            places = await reading.places_of(connection, request.event_id)
            entry = await reading.read_entry(connection, places[0]) if places else None
            if entry is None:
                if places:
                    await require_kept(connection, places[0])
                raise ProblemError(ProblemCode.NOT_FOUND, "the log holds no event of this id")
        note, checkpoint = await self._covering(opened, entry.index)
        async with self._database.raw() as connection:
            proof = await inclusion_proof(connection, entry.index, checkpoint.size)
        handovers = await handovers_to(opened, note)
        return wire.ReceiptReply(
            event_id=entry.event_id,
            index=entry.index,
            leaf_hash=entry.leaf_hash.hex(),
            record=base64.b64encode(entry.record).decode(),
            proof=tuple(item.hex() for item in proof),
            checkpoint=note,
            tlog_proof=write_receipt(
                event_id=entry.event_id,
                record=entry.record,
                index=entry.index,
                proof=proof,
                checkpoint=note,
                handovers=handovers,
            ),
        )

    async def _covering(self, opened: OpenLog, index: int) -> tuple[str, Checkpoint]:
        """A published checkpoint larger than ``index``; signs one now where there is none yet."""
        deadline = asyncio.get_running_loop().time() + CHECKPOINT_WAIT_S
        while True:
            async with self._database.raw() as connection:
                note = await reading.latest_note(connection)
            if note is not None:
                checkpoint = Checkpoint.parse(SignedNote.parse(note).text)
                if checkpoint.size > index:
                    return note, checkpoint
            if asyncio.get_running_loop().time() > deadline:
                raise ProblemError(
                    ProblemCode.UNAVAILABLE, "no checkpoint covers the entry yet", retry_after_s=CHECKPOINT_WAIT_S
                )
            try:
                await opened.publisher.publish()
            except (SigningRefusedError, SignerAwayError) as error:
                raise ProblemError(ProblemCode.UNAVAILABLE, "the log is not being signed", retry_after_s=10) from error
            await asyncio.sleep(CHECKPOINT_POLL_S)


def _decrypted(row: StoredEntry, key: DataKey) -> bytes:
    try:
        return open_record(row.record, row.detached, key.cipher)
    except RecordInvalidError as error:
        raise ProblemError(ProblemCode.INTERNAL, f"entry {row.index} was tampered with: verify the log") from error


def _entry(row: StoredEntry, body: bytes | None) -> wire.Entry:
    event = None if body is None else cast("dict[str, JsonValue]", json.loads(body))
    return wire.Entry(
        index=row.index,
        event_id=row.event_id,
        time=from_microseconds(row.time_us),
        leaf_hash=row.leaf_hash.hex(),
        event=event,
    )


def _cursor_index(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise ProblemError(ProblemCode.BODY_INVALID, "the cursor is not one this log gave out")
    return int(cursor)
