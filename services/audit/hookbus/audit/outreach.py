"""Takes each new checkpoint to the anchors and the witnesses, beside the publishing and never in its way."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import structlog

from hookbus.audit.anchor_bucket import AnchorBucket
from hookbus.audit.anchors import AnchorError, AnchorFile, Witness, cosign, send
from hookbus.audit.note import Checkpoint
from hookbus.audit.proofs import consistency_proof
from hookbus.audit.repository import reading
from hookbus.platform.database.engine import Database

ROUND_INTERVAL_S: Final = 2.0
"""At most one round of anchors and witnesses in this time: each takes the newest checkpoint."""
RETRY_S: Final = 10.0

log = structlog.get_logger(__name__)


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
        self._url = url
        self._bucket = bucket
        self._witnesses = witnesses
        self._known: dict[str, int] = {}
        self._newest: tuple[Checkpoint, str] | None = None
        self._offered = asyncio.Event()
        self._done_at_s = time.monotonic()
        self._filed: Checkpoint | None = None
        self._sent: Checkpoint | None = None
        self._put: Checkpoint | None = None
        self._cosigned: dict[str, Checkpoint] = {}

    def offer(self, checkpoint: Checkpoint, note: str) -> None:
        """There is a new checkpoint."""
        self._newest = (checkpoint, note)
        self._offered.set()

    def anchor_lag(self, size: int) -> int:
        """How many of ``size`` entries the anchor furthest behind does not cover; 0 where none is set."""
        reached = [
            0 if kept is None else kept.size
            for kept, is_set in (
                (self._filed, self._file is not None),
                (self._sent, self._url is not None),
                (self._put, self._bucket is not None),
            )
            if is_set
        ]
        return max(0, size - min(reached)) if reached else 0

    def witness_lag(self, size: int) -> int:
        """How many of ``size`` entries the witness furthest behind has not cosigned; 0 where none is set."""
        reached = [self._known.get(witness.key.name, 0) for witness in self._witnesses]
        return max(0, size - min(reached)) if reached else 0

    def behind_s(self) -> float:
        """Seconds since all anchors and witnesses had the newest checkpoint (a heartbeat renews it where the log is
        idle); 0 where none is set."""
        any_set = bool(self._file or self._url or self._bucket or self._witnesses)
        return time.monotonic() - self._done_at_s if any_set else 0.0

    def remembered(self) -> list[str]:
        """The notes in the anchor file; raises OSError or ValueError where it cannot be read."""
        return [] if self._file is None else self._file.notes()

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            if self._newest is None:
                continue
            done = await self.round(*self._newest)
            if done:
                self._done_at_s = time.monotonic()
            await asyncio.sleep(ROUND_INTERVAL_S if done else RETRY_S)
            if not done:
                self._offered.set()

    async def round(self, checkpoint: Checkpoint, note: str) -> bool:
        """Offer a checkpoint to all; whether all have it now."""
        results = await asyncio.gather(
            self._to_file(checkpoint, note),
            self._to_url(checkpoint, note),
            self._to_bucket(checkpoint, note),
            *(self._to_witness(witness, checkpoint, note) for witness in self._witnesses),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, (AnchorError, OSError, KeyError, ValueError)):
                log.warning("anchor without the newest checkpoint", error=str(result), size=checkpoint.size)
            elif isinstance(result, BaseException):
                raise result
        return not any(results)

    async def _to_file(self, checkpoint: Checkpoint, note: str) -> None:
        if self._file is not None and self._filed != checkpoint:
            await asyncio.to_thread(self._file.add, checkpoint, note)
            self._filed = checkpoint

    async def _to_url(self, checkpoint: Checkpoint, note: str) -> None:
        if self._url is not None and self._sent != checkpoint:
            await send(self._url, note)
            self._sent = checkpoint

    async def _to_bucket(self, checkpoint: Checkpoint, note: str) -> None:
        if self._bucket is not None and self._put != checkpoint:
            await self._bucket.add(checkpoint, note)
            self._put = checkpoint

    async def _to_witness(self, witness: Witness, checkpoint: Checkpoint, note: str) -> None:
        name = witness.key.name
        if self._cosigned.get(name) == checkpoint:
            return
        line = await cosign(witness, checkpoint, note, self._prove, self._known.get(name, 0))
        self._known[name] = checkpoint.size
        self._cosigned[name] = checkpoint
        async with self._database.raw() as connection:
            await reading.insert_cosignature(connection, checkpoint.size, name, line.text)

    async def _prove(self, from_size: int, to_size: int) -> tuple[bytes, ...]:
        async with self._database.raw() as connection:
            return await consistency_proof(connection, from_size, to_size)
