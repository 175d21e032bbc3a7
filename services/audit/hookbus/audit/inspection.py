"""What rows say by themselves, one after another: headers against columns, hashes, ciphertexts, keys announced."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookbus.audit.entries import StoredEntry
from hookbus.audit.record import (
    KEY_ID_BYTES,
    Header,
    RecordInvalidError,
    Stream,
    begins_with,
    ciphertext_of,
    event_hash,
    open_record,
    parse_header,
)
from hookbus.audit.search_rows import SearchRows
from hookbus.audit.tree import HASH_BYTES, leaf_hash

TYPE_KEY_CREATED: Final = "dev.hookbus.audit.key_created.v1"
TYPE_ERASED: Final = "dev.hookbus.audit.erased.v1"

_STREAMS: Final = frozenset(stream.value for stream in Stream)


class FaultError(Exception):
    """The log is not what it was: ``index`` is the first entry concerned, ``text`` what is wrong with it."""

    def __init__(self, index: int | None, text: str) -> None:
        super().__init__(text if index is None else f"entry {index}: {text}")
        self.index = index
        self.text = text


@dataclass(frozen=True, slots=True)
class OpenedKey:
    """A data key at hand, with the commitment stored beside it."""

    cipher: AESGCM
    commitment: bytes


Keys = Mapping[bytes, OpenedKey]


class Record(NamedTuple):
    """An entry without its row: the record, and its detached part where it has one."""

    record: bytes
    detached: bytes | None = None


def check_record(record: Record, index: int, log_id: bytes) -> Header:
    """Check what a record says of itself, without a key; raises FaultError."""
    try:
        header = parse_header(record.record)
        ciphertext_of(record.record, header, record.detached)
    except RecordInvalidError as error:
        raise FaultError(index, f"the entry was changed: {error}") from error
    if header.log_id != log_id:
        raise FaultError(index, "the record belongs to another log")
    if header.index != index:
        raise FaultError(index, f"the record was written at index {header.index}: entries were moved or swapped")
    return header


def check_row(entry: StoredEntry, expected_index: int, log_id: bytes) -> Header:
    """Check everything about a row that needs neither its neighbours nor a key; raises FaultError."""
    if entry.index > expected_index:
        raise FaultError(expected_index, "the entry is missing")
    if entry.index < expected_index:
        raise FaultError(entry.index, "an entry was added: this index is held twice or lies outside the log")
    header = check_record(Record(entry.record, entry.detached), entry.index, log_id)
    changed = _changed_column(entry, header)
    if changed is not None:
        raise FaultError(entry.index, f"the entry was changed: its {changed} is not that of its record")
    return header


def _changed_column(entry: StoredEntry, header: Header) -> str | None:
    """The first column of a row that contradicts the record beside it."""
    if entry.stream not in _STREAMS or header.stream != entry.stream:
        return "stream"
    if header.event != event_hash(Stream(entry.stream), entry.event_id):
        return "event id"
    if header.time_us != entry.time_us:
        return "time"
    if header.key_id != entry.key_id:
        return "key id"
    if leaf_hash(entry.record) != entry.leaf_hash:
        return "leaf hash"
    return None


@dataclass(slots=True)
class KeyLedger:
    """What the log says of its own keys, gathered while its entries are decrypted."""

    commitments: dict[bytes, bytes] = field(default_factory=dict[bytes, bytes])
    destroyed: set[bytes] = field(default_factory=set[bytes])
    absent: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """Key id -> first entry under a key that is not at hand."""
    used: dict[bytes, tuple[int, bytes]] = field(default_factory=dict[bytes, tuple[int, bytes]])
    """Key id -> first entry under it, and the commitment stored beside the key."""

    def read(self, index: int, header: Header, record: Record, keys: Keys) -> bytes | None:
        """Decrypt an entry and note what it says of keys; its event, None where its key is not at hand.

        Raises:
            FaultError: it does not decrypt, or is malformed.
        """
        key_id = header.key_id
        key = keys.get(key_id)
        if key is None:
            self.absent.setdefault(key_id, index)
            return None
        try:
            body = open_record(record.record, record.detached, key.cipher, header)
        except RecordInvalidError as error:
            raise FaultError(index, f"the entry was changed: {error}") from error
        if key_id not in self.used:
            self.used[key_id] = (index, key.commitment)
        if header.stream == Stream.LOG:
            self._note(index, body)
        return body

    def _note(self, index: int, body: bytes) -> None:
        try:
            event = cast("dict[str, object]", json.loads(body))
            data = cast("dict[str, object]", event["data"])
            if event["type"] == TYPE_KEY_CREATED:
                self.commitments[bytes.fromhex(str(data["key_id"]))] = bytes.fromhex(str(data["commitment"]))
            elif event["type"] == TYPE_ERASED:
                self.destroyed.update(bytes.fromhex(key_id) for key_id in cast("list[str]", data["key_ids"]))
        except (ValueError, KeyError, TypeError) as error:
            raise FaultError(index, "an entry the log wrote about itself is malformed") from error

    def absorb(self, other: "KeyLedger") -> None:
        """Add what later entries say."""
        self.commitments |= other.commitments
        self.destroyed |= other.destroyed
        self.absent = other.absent | self.absent
        self.used = other.used | self.used

    def finish(self) -> None:
        """Check that each key used was announced, and that no key is absent without a tombstone."""
        for key_id, (index, commitment) in self.used.items():
            if self.commitments.get(key_id) != commitment:
                raise FaultError(index, f"data key {key_id.hex()} is not the one the log announced")
        for key_id, index in sorted(self.absent.items(), key=lambda item: item[1]):
            if key_id not in self.destroyed:
                raise FaultError(index, f"data key {key_id.hex()} is gone without an erasure in the log")


@dataclass(frozen=True, slots=True)
class Inspected:
    """What the entries of a stretch say by themselves: leaf hashes (joined), keys; ``fault`` ends it early. Travels
    between processes."""

    leaves: bytes
    ledger: KeyLedger | None
    fault: tuple[int | None, str] | None

    @property
    def count(self) -> int:
        """Entries inspected without a fault."""
        return len(self.leaves) // HASH_BYTES


def inspect_rows(
    entries: Iterable[StoredEntry], first: int, log_id: bytes, keys: Keys | None, search_rows: SearchRows | None = None
) -> Inspected:
    """Everything about a stretch of rows that needs no other stretch: it may be done anywhere, in any order.

    Args:
        entries: rows in the order of their index.
        first: the index the first of them must have.
        log_id: names the log.
        keys: the data keys of these entries, as far as they still exist; None to check without decryption.
        search_rows: compared with the entries as they are decrypted; what does not fit is left in it.
    """
    ledger = None if keys is None else KeyLedger()
    leaves: list[bytes] = []
    try:
        for number, entry in enumerate(entries, first):
            header = _as_written(entry, number, log_id)
            if header is None:
                # Detached, or something is wrong with it: looked at field by field, which says what.
                header = check_row(entry, number, log_id)
            if ledger is not None and keys is not None:
                body = ledger.read(number, header, Record(entry.record, entry.detached), keys)
                if search_rows is not None:
                    search_rows.compare(entry, body)
            leaves.append(entry.leaf_hash)
    except FaultError as fault:
        return Inspected(b"".join(leaves), ledger, (fault.index, fault.text))
    if search_rows is not None:
        search_rows.finish()
    return Inspected(b"".join(leaves), ledger, None)


def inspect_records(records: Iterable[Record], first: int, log_id: bytes, keys: Keys | None) -> Inspected:
    """The same for entries without rows, as an export holds them."""
    ledger = None if keys is None else KeyLedger()
    leaves: list[bytes] = []
    try:
        for number, record in enumerate(records, first):
            header = check_record(record, number, log_id)
            if ledger is not None and keys is not None:
                ledger.read(number, header, record, keys)
            leaves.append(leaf_hash(record.record))
    except FaultError as fault:
        return Inspected(b"".join(leaves), ledger, (fault.index, fault.text))
    return Inspected(b"".join(leaves), ledger, None)


def _as_written(entry: StoredEntry, index: int, log_id: bytes) -> Header | None:
    """The header of a row whose record begins with exactly what its columns say; None for any other row.

    One comparison in place of the field by field look of :func:`check_row`: nearly every row of a log passes here.
    """
    if entry.index != index or entry.detached is not None or entry.stream not in _STREAMS:
        return None
    if len(entry.key_id) != KEY_ID_BYTES or entry.leaf_hash != leaf_hash(entry.record):
        return None
    event = event_hash(entry.stream, entry.event_id)
    header = Header(log_id, index, entry.stream, event, entry.time_us, entry.key_id)
    return header if begins_with(entry.record, header) else None
