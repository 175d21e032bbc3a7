"""Checkpoints out: after commits, at most one a second, and a fresh one on a heartbeat while the log is idle."""

import asyncio
import time
from typing import Final

import structlog

from hookbus.audit.note import Checkpoint
from hookbus.audit.outreach import Outreach
from hookbus.audit.proofs import consistency_proof
from hookbus.audit.repository import leading, reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.sequencer import Sequencer
from hookbus.audit.signing.client import RemoteSigner, SignerAwayError
from hookbus.audit.signing.signer import SigningRefusedError, SignRequest
from hookbus.platform.database.engine import Database

CHECKPOINT_INTERVAL_S: Final = 1.0
"""While the log moves, a checkpoint is never older than this (and the time it takes to sign)."""
HEARTBEAT_S: Final = 60.0
"""An idle log signs its unchanged tree again, so that a reader sees that it is alive and not frozen."""
REFUSED_WAIT_S: Final = 10.0

log = structlog.get_logger(__name__)


class Publisher:
    """Signs the committed tree and keeps the notes."""

    def __init__(
        self,
        database: Database,
        sequencer: Sequencer,
        signer: RemoteSigner,
        outreach: Outreach,
    ) -> None:
        self._database = database
        self._sequencer = sequencer
        self._signer = signer
        self._outreach = outreach
        self._lock = asyncio.Lock()
        self.published_at_s: float | None = None
        """When the newest checkpoint was kept, by the monotonic clock."""
        self.refused: str | None = None
        """Why the signer will not sign; None while all is well, and while another process appends."""

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._sequencer.grown.wait()
            except TimeoutError:
                pass
            self._sequencer.grown.clear()
            try:
                await self.publish()
            except SigningRefusedError:
                await asyncio.sleep(REFUSED_WAIT_S)
            except SignerAwayError as error:
                log.warning("signer away, no checkpoint", error=str(error))
                self._sequencer.grown.set()
            await asyncio.sleep(CHECKPOINT_INTERVAL_S)

    async def publish(self) -> None:
        """Sign the tree as it is committed now; nothing happens where this process does not append.

        Raises:
            SigningRefusedError: the tree does not continue what was signed before, or another process has taken over
                and signed; only the first is a refusal to be alarmed about.
            SignerAwayError: the signer does not answer.
        """
        async with self._lock:
            reign = self._sequencer.position
            if reign is None:
                return
            frontier = reign.tree.frontier
            checkpoint = Checkpoint(reign.origin, frontier.size, frontier.root)
            last = self._signer.last
            from_size = last.size if last is not None else 0
            async with self._database.raw() as connection:
                try:
                    proof: tuple[bytes, ...] = ()
                    if 0 < from_size <= checkpoint.size:
                        proof = await _proof(connection, from_size, checkpoint.size)
                    note = await self._signer.sign(SignRequest(checkpoint, from_size, proof))
                except SigningRefusedError as error:
                    if not await self._still_leads(connection, reign.epoch):
                        # Paused meanwhile: another process has appended and signed, and the tree at hand is an old one.
                        raise
                    # Events are taken all the same: a log that nobody signs is better than one with a hole.
                    self.refused = str(error)
                    log.critical("checkpoint refused by the signer", reason=str(error), size=checkpoint.size)
                    raise
                self.refused = None
                await reading.insert_checkpoint(connection, checkpoint.size, checkpoint.root, note)
                await reading.set_latest(connection, reign.epoch, note)
            self.published_at_s = time.monotonic()
            self._outreach.offer(checkpoint, note)

    async def _still_leads(self, connection: Connection, epoch: int) -> bool:
        position = self._sequencer.position
        if position is None or position.epoch != epoch:
            return False
        state = await leading.read_state(connection)
        return state is not None and state.epoch == epoch


async def _proof(connection: Connection, from_size: int, to_size: int) -> tuple[bytes, ...]:
    try:
        return await consistency_proof(connection, from_size, to_size)
    except KeyError as error:
        raise SigningRefusedError("the stored tiles are damaged") from error
