"""A log taken away: one zip file with everything a check needs, laid out as C2SP tlog-tiles.

``checkpoint`` (the newest note), ``checkpoints.jsonl`` (every note, one JSON string a line), ``handovers.json``,
``log.vkey`` (the first public key: for convenience; a checker pins its own), ``tile/<level>/...`` and
``tile/entries/...`` for the size of the checkpoint, and ``detached/<index>`` for entries too large for a bundle.
Entries are as the log holds them: encrypted.
"""

import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from hookbus.audit.inspection import FaultError, Record
from hookbus.audit.note import Checkpoint, NoteInvalidError, VerifierKey
from hookbus.audit.record import Algorithm, RecordInvalidError, parse_header
from hookbus.audit.tiles import TILE_HEIGHT, TILE_WIDTH, TileAddress
from hookbus.audit.trust import Trust
from hookbus.audit.verify import LogVerifier, TileHashes

CHECKPOINT: Final = "checkpoint"
CHECKPOINTS: Final = "checkpoints.jsonl"
HANDOVERS: Final = "handovers.json"
VERIFIER_KEY: Final = "log.vkey"
CHUNK_BUNDLES: Final = 16
"""Entry bundles checked at once."""
PART_BYTES_MAX: Final = 64 * 1024 * 1024
"""No part of a bundle is larger: a doctored zip cannot fill the memory."""


def addresses_of(size: int) -> Iterator[TileAddress]:
    """Every tile and entry bundle of a log of ``size``, full ones first in each level."""
    for number in range(-(-size // TILE_WIDTH)):
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
class Checked:
    """What a check of a bundle found."""

    size: int
    root: bytes
    checkpoints: int
    checked: int
    fault: FaultError | None


class Bundle:
    """An exported log, opened for checking."""

    def __init__(self, path: Path) -> None:
        """Raises FaultError where the file is no bundle."""
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise FaultError(None, f"{path} is not an exported log") from error

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def read(self, name: str) -> bytes:
        """One part; raises FaultError where it is absent."""
        try:
            if self._zip.getinfo(name).file_size > PART_BYTES_MAX:
                raise FaultError(None, f"{name} is larger than any part of a log")
            return self._zip.read(name)
        except (KeyError, zipfile.BadZipFile) as error:
            raise FaultError(None, f"{name} is missing or damaged") from error

    def trust(self, pinned: VerifierKey) -> Trust:
        """The log's keys, from the pinned one on."""
        try:
            return Trust(pinned.name, pinned, cast("list[str]", json.loads(self.read(HANDOVERS))))
        except (NoteInvalidError, ValueError) as error:
            raise FaultError(None, f"the key handovers: {error}") from error

    def checkpoints(self, trust: Trust) -> list[Checkpoint]:
        """Every checkpoint, signatures checked, the newest last."""
        notes = [str(json.loads(line)) for line in self.read(CHECKPOINTS).splitlines()]
        found: list[Checkpoint] = []
        for note in [*notes, self.read(CHECKPOINT).decode()]:
            try:
                found.append(trust.open(note).checkpoint)
            except NoteInvalidError as error:
                raise FaultError(None, f"a checkpoint is forged: {error}") from error
        return sorted(found, key=lambda item: item.size)

    def tile(self, address: TileAddress) -> bytes:
        """A tile or an entry bundle."""
        return self.read(f"tile/{address.path}")

    def records(self, address: TileAddress) -> list[Record]:
        """The records of an entry bundle, each with its detached part."""
        first = address.number * TILE_WIDTH
        try:
            split = split_records(self.tile(address))
        except ValueError as error:
            raise FaultError(first, str(error)) from error
        found = [Record(record, self._detached(record, first + number)) for number, record in enumerate(split)]
        if len(found) != address.width:
            # What is left says at which place it was written: the first one out of place follows what is missing.
            places = [parse_header(item.record).index for item in found]
            shifted = (first + number for number, place in enumerate(places) if place != first + number)
            raise FaultError(
                next(shifted, first + min(len(found), address.width)),
                "the entry is missing, or one was added before it",
            )
        return found

    def _detached(self, record: bytes, index: int) -> bytes | None:
        try:
            header = parse_header(record)
        except RecordInvalidError as error:
            raise FaultError(index, f"the entry was changed: {error}") from error
        return self.read(f"detached/{index}") if header.algorithm == Algorithm.AES_256_GCM_DETACHED else None


def check_bundle(
    bundle: Bundle,
    pinned: VerifierKey,
    *,
    leaves: bool = True,
    remembered: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda _checked, _size: None,
) -> Checked:
    """Check an exported log against the pinned key.

    Args:
        bundle: the export.
        pinned: the log's first public key, from somewhere the log's keeper does not rule.
        remembered: notes kept elsewhere (an anchor, an earlier day): the log must lead to each of them.
        leaves: recompute every leaf from its record; without, only checkpoints and tiles are checked.
        progress: told how many of how many entries are checked.
    """
    size, root, count, done = 0, b"", 0, 0
    try:
        trust = bundle.trust(pinned)
        checkpoints = bundle.checkpoints(trust)
        count = len(checkpoints)
        size, root = checkpoints[-1].size, checkpoints[-1].root
        log_id = bytes.fromhex(pinned.name.rpartition("/")[2])
        known = [*checkpoints, *trust.handed_over, *(_opened(note, trust) for note in remembered)]
        verifier = LogVerifier(log_id, known, decrypt=False)
        for first in range(0, size, CHUNK_BUNDLES * TILE_WIDTH):
            end = min(size, first + CHUNK_BUNDLES * TILE_WIDTH)
            tiles = _tiles(bundle, first, end, size)
            if leaves:
                records = [
                    record
                    for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH))
                    for record in bundle.records(TileAddress(None, number, min(TILE_WIDTH, size - number * TILE_WIDTH)))
                ]
                verifier.feed_records(records, tiles)
            else:
                verifier.feed_leaves(_leaves(tiles, first, end), tiles)
            done = end
            progress(done, size)
        verifier.finish(size=size, tiles_stored=None)
    except FaultError as fault:
        return Checked(size, root, count, done, fault)
    except ValueError as error:
        return Checked(size, root, count, done, FaultError(None, f"the export is malformed: {error}"))
    return Checked(size, root, count, done, None)


def _opened(note: str, trust: Trust) -> Checkpoint:
    try:
        return trust.open(note).checkpoint
    except NoteInvalidError as error:
        raise FaultError(None, f"a remembered checkpoint is not of this log: {error}") from error


def _tiles(bundle: Bundle, first: int, end: int, size: int) -> TileHashes:
    """The tiles that overlap or end within entries ``[first, end)``, partial ones included at level 0."""
    found: dict[tuple[int, int], bytes] = {}
    for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
        found[(0, number)] = bundle.tile(TileAddress(0, number, min(TILE_WIDTH, size - number * TILE_WIDTH)))
    level, width = 1, TILE_WIDTH * TILE_WIDTH
    while width <= end:
        for number in range(first // width, end // width):
            found[(level, number)] = bundle.tile(TileAddress(level, number))
        level, width = level + 1, width * TILE_WIDTH
    return found


def _leaves(tiles: TileHashes, first: int, end: int) -> list[bytes]:
    joined = b"".join(tiles[(0, number)] for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)))
    if len(joined) != (end - first) * 32:
        raise FaultError(first, "a tile is cut short")
    return [joined[at : at + 32] for at in range(0, len(joined), 32)]
