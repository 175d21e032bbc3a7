"""An exported log as one zip file, checked offline with nothing but a pinned key; on every core where it is long."""

import heapq
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookbus.audit.cosigned import Cosigned
from hookbus.audit.export import Export, Published, leaves_of, opened
from hookbus.audit.forks import find_fork
from hookbus.audit.inspection import FaultError, Inspected, Keys, OpenedKey, inspect_records
from hookbus.audit.keys import DataKey
from hookbus.audit.note import Checkpoint, VerifierKey
from hookbus.audit.tiles import TILE_WIDTH, StoredTiles
from hookbus.audit.trust import Trust
from hookbus.audit.verify import LogVerifier
from hookbus.audit.zipped import ZippedParts

STRETCH_ENTRIES: Final = 16 * TILE_WIDTH
"""Entries inspected at once."""
PARALLEL_ENTRIES_MIN: Final = 300_000
"""From here on it pays to start processes (docs/performance.md)."""
STRETCHES_AHEAD_PER_WORKER: Final = 2
"""Stretches under way before the oldest is absorbed: the bound on memory."""

Progress = Callable[[int, int], None]
"""Called with entries checked and entries in all."""


class Bundle(Export):
    """An exported log, opened for checking."""

    def __init__(self, path: Path) -> None:
        """Raises FaultError where the file is no bundle."""
        self.path = path
        self._zip = ZippedParts(path)
        super().__init__(self._zip)

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def holds(self, name: str) -> bool:
        """Whether the file has a part of this name."""
        return self._zip.holds(name)


@dataclass(frozen=True, slots=True)
class Against:
    """What a log is checked against, all of it kept where the log's keeper does not rule.

    Args:
        pinned: the log's first public key.
        remembered: notes kept elsewhere (an anchor, an earlier day): the log must lead to each of them.
        witnesses: public keys; each must have cosigned a checkpoint.
    """

    pinned: VerifierKey
    remembered: Sequence[str] = ()
    witnesses: Sequence[VerifierKey] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of an export found. ``fork`` is the text of a proof that the log told two stories.

    ``cosigned`` says, by the name of each witness, the size of the newest checkpoint it has cosigned.
    """

    size: int
    root: bytes
    checkpoints: int
    checked: int
    fault: FaultError | None
    fork: str | None = None
    cosigned: Mapping[str, int] = field(default_factory=dict[str, int])


def _no_progress(_checked: int, _size: int) -> None:
    """For callers that do not show any."""


def check_bundle(
    export: Export,
    against: Against,
    *,
    leaves: bool = True,
    keys: Mapping[bytes, DataKey] | None = None,
    progress: Progress = _no_progress,
) -> Checked:
    """Check an exported log.

    Args:
        export: a file, or the live log read through its API.
        against: the pinned key, and what else was kept.
        leaves: recompute every leaf from its record; without, only checkpoints and tiles are checked.
        keys: decrypt every record too.
        progress: told after each stretch.
    """
    return _Check(export, against, leaves=leaves, keys=keys, progress=progress).run()


class _Check:
    """One check under way: what it has found out so far is what it reports when it ends early."""

    def __init__(
        self,
        export: Export,
        against: Against,
        *,
        leaves: bool,
        keys: Mapping[bytes, DataKey] | None,
        progress: Progress,
    ) -> None:
        self._export = export
        self._against = against
        self._leaves = leaves
        self._keys = keys
        self._progress = progress
        self._size = self._done = self._cut = 0
        self._root = b""
        self._trust: Trust | None = None
        self._beside: list[Published] = []
        """Notes that are not among those the export keeps line by line: the newest, and what the caller remembers."""
        self._checkpoints = 0
        self._cosigned = Cosigned(against.witnesses)

    def run(self) -> Checked:
        fault: FaultError | None = None
        fork: str | None = None
        try:
            self._walk()
        except FaultError as found:
            fault = found
        except ValueError as error:
            fault = FaultError(None, f"the export is malformed: {error}")
        if fault is not None:
            fork = find_fork(self._export, self._against.pinned, self._every_note(), self._size)
        return Checked(self._size, self._root, self._checkpoints, self._done, fault, fork, self._cosigned.sizes)

    def _walk(self) -> None:
        export, pinned = self._export, self._against.pinned
        trust = self._trust = export.trust(pinned)
        newest = export.newest(trust)
        self._size, self._root = newest.size, newest.checkpoint.root
        words = "a remembered checkpoint is not of this log"
        self._beside = [newest, *(opened(note, trust, words) for note in self._against.remembered)]
        log_id = bytes.fromhex(pinned.name.rpartition("/")[2])
        pruned = export.pruned(trust, self._size)
        known = [*(self._seen(item) for item in self._beside), *trust.handed_over]
        if pruned is not None:
            known.append(pruned.checkpoint)
            self._cut = pruned.cut
        verifier = LogVerifier(log_id, known, decrypt=self._keys is not None)
        kept = _Kept(export.checkpoints(trust))
        for first, end, inspected in self._stretches(log_id):
            verifier.expect(self._seen(item) for item in kept.up_to(end))
            tiles = StoredTiles(export.tiles(first, end, self._size))
            if inspected is None:
                verifier.feed_leaves(leaves_of(tiles.hashes, first, end), tiles)
            else:
                verifier.absorb(inspected, tiles)
            self._done = end
            self._progress(end, self._size)
        # For an empty log, whose one size no stretch ends at, and for what promises more than there is.
        verifier.expect(self._seen(item) for item in kept.up_to(self._size))
        verifier.expect(self._seen(item) for item in kept.next())
        verifier.finish(size=self._size, tiles_stored=None)
        self._cosigned.require_all()

    def _seen(self, published: Published) -> Checkpoint:
        """Counted, and looked at for cosignatures."""
        self._checkpoints += 1
        self._cosigned.read(published)
        return published.checkpoint

    def _every_note(self) -> Iterator[Published]:
        """Every note by size, as far as they are in order, read anew: they are not held in memory."""
        if self._trust is None:
            return
        try:
            yield from heapq.merge(
                self._export.checkpoints(self._trust),
                sorted(self._beside, key=lambda item: item.size),
                key=lambda item: item.size,
            )
        except FaultError:
            return

    def _stretches(self, log_id: bytes) -> Iterator[tuple[int, int, Inspected | None]]:
        """Each stretch in order, inspected in other processes where there are many; None where records are not read."""
        size = self._size
        # What is pruned is known by its hashes alone.
        for first in range(0, self._cut, STRETCH_ENTRIES):
            yield first, min(self._cut, first + STRETCH_ENTRIES), None
        ranges = [(first, min(size, first + STRETCH_ENTRIES)) for first in range(self._cut, size, STRETCH_ENTRIES)]
        order = _Order(log_id, size, self._keys)
        if not self._leaves:
            yield from ((first, end, None) for first, end in ranges)
        elif isinstance(self._export, Bundle) and size >= PARALLEL_ENTRIES_MIN:
            yield from _elsewhere(self._export.path, order, ranges)
        else:
            keys = order.opened_keys
            yield from ((first, end, _inspect(self._export, order, keys, first, end)) for first, end in ranges)


@dataclass(frozen=True, slots=True)
class _Order:
    """What a worker must know besides the file."""

    log_id: bytes
    size: int
    keys: Mapping[bytes, DataKey] | None

    @property
    def opened_keys(self) -> Keys | None:
        """The keys, ready to decrypt with."""
        if self.keys is None:
            return None
        return {key_id: OpenedKey(AESGCM(key.key), key.commitment) for key_id, key in self.keys.items()}


def _inspect(export: Export, order: _Order, keys: Keys | None, first: int, end: int) -> Inspected:
    return inspect_records(export.records(first, end, order.size), first, order.log_id, keys)


_work: Callable[[int, int], Inspected] | None = None


def _start(path: Path, order: _Order) -> None:
    global _work  # noqa: PLW0603 - a pool's initializer has no other way to leave something for its tasks
    bundle, keys = Bundle(path), order.opened_keys

    def work(first: int, end: int) -> Inspected:
        return _inspect(bundle, order, keys, first, end)

    _work = work


def _worked(first: int, end: int) -> Inspected:
    assert _work is not None
    return _work(first, end)


def _elsewhere(
    path: Path, order: _Order, ranges: Sequence[tuple[int, int]]
) -> Iterator[tuple[int, int, Inspected | None]]:
    """Each worker opens the file itself; a bounded number of stretches is under way."""
    workers = os.cpu_count() or 1
    with ExitStack() as stack:
        pool = ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start, initargs=(path, order)
        )
        stack.callback(pool.shutdown, wait=True, cancel_futures=True)
        waiting: deque[tuple[int, int, Future[Inspected]]] = deque()
        for first, end in ranges:
            waiting.append((first, end, pool.submit(_worked, first, end)))
            if len(waiting) > workers * STRETCHES_AHEAD_PER_WORKER:
                begun, ended, future = waiting.popleft()
                yield begun, ended, future.result()
        for first, end, future in waiting:
            yield first, end, future.result()


class _Kept:
    """The checkpoints of an export, taken by size."""

    def __init__(self, published: Iterator[Published]) -> None:
        self._published = published
        self._ahead = next(published, None)

    def up_to(self, size: int) -> Iterator[Published]:
        """Those of a size up to ``size`` that were not taken yet."""
        while self._ahead is not None and self._ahead.size <= size:
            yield from self.next()

    def next(self) -> Iterator[Published]:
        """The one after those taken, where there is one."""
        if self._ahead is not None:
            taken, self._ahead = self._ahead, next(self._published, None)
            yield taken
