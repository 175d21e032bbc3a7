"""The layout of a log that was taken away, and how its parts are read, whether from a file or through an API.

``checkpoint`` (the newest note), ``checkpoints.jsonl`` (every note, one JSON string a line, by size: as long as it is,
for it is written and read line by line), ``handovers.json``,
``log.vkey`` (the first public key: for convenience; a checker pins its own), ``tile/<level>/...`` and
``tile/entries/...`` for the size of the checkpoint, ``detached/<index>`` for entries too large for a bundle,
``prune.json`` where the log begins later than at its first entry (the signed record, and the entry that holds it), and
``keys.json`` where the data keys were taken along (:mod:`hookbus.audit.exported_keys`). Entries are as the log holds
them: encrypted.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol, cast

from hookbus.audit.inspection import FaultError, Record
from hookbus.audit.note import Checkpoint, NoteInvalidError, VerifierKey
from hookbus.audit.prune_record import PruneRecord, prune_event_id
from hookbus.audit.record import Algorithm, RecordInvalidError, Stream, event_hash, parse_header
from hookbus.audit.tiles import TILE_HEIGHT, TILE_WIDTH, TileAddress, TileHashes, split_hashes
from hookbus.audit.tree import HASH_BYTES, leaf_hash
from hookbus.audit.trust import Trust

CHECKPOINT: Final = "checkpoint"
CHECKPOINTS: Final = "checkpoints.jsonl"
HANDOVERS: Final = "handovers.json"
VERIFIER_KEY: Final = "log.vkey"
KEYS: Final = "keys.json"
PRUNE: Final = "prune.json"


def addresses_of(size: int, first: int = 0) -> Iterator[TileAddress]:
    """Every tile and entry bundle of a log of ``size``, full ones first in each level; no bundle below ``first``."""
    for number in range(first // TILE_WIDTH, -(-size // TILE_WIDTH)):
        yield TileAddress(None, number, min(TILE_WIDTH, size - number * TILE_WIDTH))
    level, width = 0, size
    while width:
        for number in range(-(-width // TILE_WIDTH)):
            yield TileAddress(level, number, min(TILE_WIDTH, width - number * TILE_WIDTH))
        level, width = level + 1, width >> TILE_HEIGHT


def split_records(body: bytes) -> list[bytes]:
    """The records of an entry bundle; raises ValueError where it is cut short."""
    found: list[bytes] = []
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 2])
        record = body[at + 2 : at + 2 + length]
        if len(record) != length:
            raise ValueError("the entry bundle is cut short")
        found.append(record)
        at += 2 + length
    return found


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint whose signature holds, and the note it stands in."""

    checkpoint: Checkpoint
    note: str

    @property
    def size(self) -> int:
        """That of its tree."""
        return self.checkpoint.size


class Parts(Protocol):
    """Where the parts of an export come from."""

    def read(self, name: str) -> bytes:
        """One part by its name; raises FaultError where it is absent or damaged."""
        ...

    def lines(self, name: str) -> Iterator[bytes]:
        """A part of any length line by line; raises FaultError where it is absent or damaged."""
        ...


class Export:
    """A log by its parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def read(self, name: str) -> bytes:
        """One part; raises FaultError where it is absent."""
        return self._parts.read(name)

    def handovers(self) -> tuple[str, ...]:
        """The notes by which each signing key handed on to the next."""
        try:
            return tuple(str(note) for note in cast("list[object]", json.loads(self.read(HANDOVERS))))
        except (ValueError, TypeError) as error:
            raise FaultError(None, f"the key handovers: {error}") from error

    def trust(self, pinned: VerifierKey) -> Trust:
        """The log's keys, from the pinned one on."""
        try:
            return Trust(pinned.name, pinned, self.handovers())
        except (NoteInvalidError, ValueError) as error:
            raise FaultError(None, f"the key handovers: {error}") from error

    def newest(self, trust: Trust) -> Published:
        """The checkpoint the export was made at, signature checked."""
        try:
            note = self.read(CHECKPOINT).decode()
        except ValueError as error:
            raise FaultError(None, f"the checkpoint is malformed: {error}") from error
        return opened(note, trust, "a checkpoint is forged")

    def checkpoints(self, trust: Trust) -> Iterator[Published]:
        """Every checkpoint that was kept, signatures checked, one by one: there may be one for each second of years.

        Raises:
            FaultError: at one that is malformed, forged, or smaller than the one before it.
        """
        size = 0
        for line in self._parts.lines(CHECKPOINTS):
            try:
                note = str(json.loads(line))
            except ValueError as error:
                raise FaultError(None, f"the checkpoints are malformed: {error}") from error
            published = opened(note, trust, "a checkpoint is forged")
            if published.checkpoint.size < size:
                raise FaultError(None, "the checkpoints are not in the order of their sizes")
            size = published.checkpoint.size
            yield published

    def pruned(self, trust: Trust, size: int) -> PruneRecord | None:
        """The record that says which entries may be absent; None where there is none.

        Raises:
            FaultError: there is one, and it is not one the log made, or not in the log.
        """
        try:
            part = self.read(PRUNE)
        except FaultError:
            return None
        try:
            parsed = cast("dict[str, object]", json.loads(part))
            note, index = str(parsed["note"]), int(str(parsed["index"]))
            record = PruneRecord.open(note, trust)
        except (NoteInvalidError, ValueError, KeyError, TypeError) as error:
            raise FaultError(0, f"the record of pruning is forged: {error}") from error
        if not (record.cut <= index < size and self._holds(index, size, prune_event_id(note))):
            raise FaultError(0, "the record of pruning is not in the log")
        return record

    def _holds(self, index: int, size: int, event_id: str) -> bool:
        """Whether the entry at ``index``, as the tiles know it, is the log's own of this id."""
        first = index - index % TILE_WIDTH
        end = min(size, first + TILE_WIDTH)
        record = list(self.records(first, end, size))[index - first].record
        leaves = leaves_of(self.tiles(first, end, size), first, end)
        if leaf_hash(record) != split_hashes(leaves)[index - first]:
            return False
        try:
            return parse_header(record).event == event_hash(Stream.LOG, event_id)
        except RecordInvalidError:
            return False

    def tile(self, address: TileAddress) -> bytes:
        """A tile or an entry bundle."""
        return self.read(f"tile/{address.path}")

    def tiles(self, first: int, end: int, size: int) -> TileHashes:
        """The tiles that overlap or end within entries ``[first, end)``, partial ones included at level 0."""
        found: dict[tuple[int, int], bytes] = {}
        for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            found[(0, number)] = self.tile(TileAddress(0, number, min(TILE_WIDTH, size - number * TILE_WIDTH)))
        level, width = 1, TILE_WIDTH * TILE_WIDTH
        while width <= end:
            for number in range(first // width, end // width):
                found[(level, number)] = self.tile(TileAddress(level, number))
            level, width = level + 1, width * TILE_WIDTH
        return found

    def records(self, first: int, end: int, size: int) -> Iterator[Record]:
        """The records of entries ``[first, end)``, each with its detached part; ``first`` begins a bundle.

        Raises:
            FaultError: at the first bundle that is absent, cut short, or holds another number of records.
        """
        for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            yield from self._bundle(TileAddress(None, number, min(TILE_WIDTH, size - number * TILE_WIDTH)))

    def _bundle(self, address: TileAddress) -> list[Record]:
        first = address.number * TILE_WIDTH
        try:
            split = split_records(self.tile(address))
        except ValueError as error:
            raise FaultError(first, str(error)) from error
        if len(split) != address.width:
            # What is left says at which place it was written: the first one out of place follows what is missing.
            shifted = (first + number for number, record in enumerate(split) if _place(record) != first + number)
            raise FaultError(
                next(shifted, first + min(len(split), address.width)),
                "the entry is missing, or one was added before it",
            )
        return [Record(record, self._detached(record, first + number)) for number, record in enumerate(split)]

    def _detached(self, record: bytes, index: int) -> bytes | None:
        return self.read(f"detached/{index}") if record[1:2] == bytes([Algorithm.AES_256_GCM_DETACHED]) else None


def leaves_of(tiles: TileHashes, first: int, end: int) -> bytes:
    """The leaf hashes of entries ``[first, end)``, joined, from the tiles of level 0."""
    joined = b"".join(tiles[(0, number)] for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)))
    if len(joined) != (end - first) * HASH_BYTES:
        raise FaultError(first, "a tile is cut short")
    return joined


def opened(note: str, trust: Trust, words: str) -> Published:
    """A note whose signature holds; raises FaultError, ``words`` saying what it is otherwise."""
    try:
        return Published(trust.open(note).checkpoint, note)
    except NoteInvalidError as error:
        raise FaultError(None, f"{words}: {error}") from error


def _place(record: bytes) -> int | None:
    try:
        return parse_header(record).index
    except RecordInvalidError:
        return None
