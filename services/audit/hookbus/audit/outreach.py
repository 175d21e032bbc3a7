"""Takes each new checkpoint to the anchors and the witnesses, beside the publishing and never in its way."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import structlog

from hookbus.audit.anchor_bucket import AnchorBucket
from hookbus.audit.anchors import AnchorError, AnchorFile, Witness, cosign, send
from hookbus.audit.note import Checkpoint
from hookbus.audit.proofs import consistency_proof
from hookbus.audit.repository import anchoring, reading
from hookbus.contracts.anchors import FAULT_CHARS_MAX, NAME_CHARS_MAX, AnchorKind
from hookbus.platform.database.engine import Database

ROUND_INTERVAL_S: Final = 2.0
"""At most one round of anchors and witnesses in this time: each takes the newest checkpoint."""
RETRY_S: Final = 10.0
"""One that did not take a checkpoint is left alone for so long; the others are not kept waiting for it."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Target:
    """An anchor or a witness, and the newest checkpoint it has."""

    kind: AnchorKind
    name: str
    take: Callable[[Checkpoint, str], Awaitable[None]]
    kept: Checkpoint | None = None
    fault: str | None = None
    not_before_s: float = 0.0


class Outreach:
    """The anchors and witnesses of one log."""

    def __init__(
        self,
        database: Database,
        *,
        file: AnchorFile | None,
        url: str | None,
        bucket: AnchorBucket | None,
        witnesses: Sequence[Witness],
    ) -> None:
        self._database = database
        self._file = file
        self._targets = [
            *([] if file is None else [_to_file(file)]),
            *([] if url is None else [_to_address(url)]),
            *([] if bucket is None else [_Target(AnchorKind.BUCKET, bucket.name[:NAME_CHARS_MAX], bucket.add)]),
            *(self._to_witness(witness) for witness in witnesses),
        ]
        self._known: dict[str, int] = {}
        self._newest: tuple[Checkpoint, str] | None = None
        self._offered = asyncio.Event()
        self._done_at_s = time.monotonic()

    def offer(self, checkpoint: Checkpoint, note: str) -> None:
        """There is a new checkpoint."""
        self._newest = (checkpoint, note)
        self._offered.set()

    def anchor_lag(self, size: int) -> int:
        """How many of ``size`` entries the anchor furthest behind does not cover; 0 where none is set."""
        return self._lag(size, [target for target in self._targets if target.kind is not AnchorKind.WITNESS])

    def witness_lag(self, size: int) -> int:
        """How many of ``size`` entries the witness furthest behind has not cosigned; 0 where none is set."""
        return self._lag(size, [target for target in self._targets if target.kind is AnchorKind.WITNESS])

    @staticmethod
    def _lag(size: int, targets: Sequence[_Target]) -> int:
        reached = [0 if target.kept is None else target.kept.size for target in targets]
        return max(0, size - min(reached)) if reached else 0

    def behind_s(self) -> float:
        """Seconds since all anchors and witnesses had the newest checkpoint (a heartbeat renews it where the log is
        idle); 0 where none is set."""
        return time.monotonic() - self._done_at_s if self._targets else 0.0

    def remembered(self) -> list[str]:
        """The notes in the anchor file; raises OSError or ValueError where it cannot be read."""
        return [] if self._file is None else self._file.notes()

    async def run(self) -> None:
        """Rounds until cancelled."""
        await self._offered.wait()  # only a process that appends is offered anything: others write nothing down
        async with self._database.raw() as connection:
            kinds = [target.kind for target in self._targets]
            await anchoring.keep_only(connection, kinds, [target.name for target in self._targets])
        while True:
            await self._offered.wait()
            self._offered.clear()
            if self._newest is None:
                continue
            done = await self.round(*self._newest)
            if done:
                self._done_at_s = time.monotonic()
            await asyncio.sleep(ROUND_INTERVAL_S)
            if not done:
                self._offered.set()

    async def round(self, checkpoint: Checkpoint, note: str) -> bool:
        """Offer a checkpoint to all; whether all have it now."""
        results = await asyncio.gather(
            *(self._offer_to(target, checkpoint, note) for target in self._targets), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return all(results)

    async def _offer_to(self, target: _Target, checkpoint: Checkpoint, note: str) -> bool:
        if target.kept == checkpoint:
            return True
        if time.monotonic() < target.not_before_s:
            return False
        try:
            await target.take(checkpoint, note)
        except (AnchorError, OSError, KeyError, ValueError) as error:
            log.warning("anchor without the newest checkpoint", error=str(error), size=checkpoint.size)
            target.not_before_s = time.monotonic() + RETRY_S
            fault = (str(error) or type(error).__name__)[:FAULT_CHARS_MAX]
            if fault != target.fault:
                async with self._database.raw() as connection:
                    await anchoring.note_fault(connection, target.kind, target.name, fault)
                target.fault = fault
            return False
        target.kept, target.fault = checkpoint, None
        async with self._database.raw() as connection:
            await anchoring.note_reached(connection, target.kind, target.name, checkpoint.size)
        return True

    def _to_witness(self, witness: Witness) -> _Target:
        name = witness.key.name

        async def take(checkpoint: Checkpoint, note: str) -> None:
            line = await cosign(witness, checkpoint, note, self._prove, self._known.get(name, 0))
            self._known[name] = checkpoint.size
            async with self._database.raw() as connection:
                await reading.insert_cosignature(connection, checkpoint.size, name, line.text)

        return _Target(AnchorKind.WITNESS, name[:NAME_CHARS_MAX], take)

    async def _prove(self, from_size: int, to_size: int) -> tuple[bytes, ...]:
        async with self._database.raw() as connection:
            return await consistency_proof(connection, from_size, to_size)


def _to_file(file: AnchorFile) -> _Target:
    async def take(checkpoint: Checkpoint, note: str) -> None:
        await asyncio.to_thread(file.add, checkpoint, note)

    return _Target(AnchorKind.FILE, str(file.path)[:NAME_CHARS_MAX], take)


def _to_address(url: str) -> _Target:
    async def take(_checkpoint: Checkpoint, note: str) -> None:
        await send(url, note)

    # Scheme and host alone: the rest may hold what lets one write there.
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    return _Target(AnchorKind.ADDRESS, f"{split.scheme}://{host}"[:NAME_CHARS_MAX], take)
