"""The published checkpoints of the live log, read page by page beside its entries: there may be one for each second."""

import asyncio
from collections.abc import Sequence
from typing import Final

from hookbus.audit.inspection import FaultError
from hookbus.audit.note import Checkpoint, NoteInvalidError
from hookbus.audit.repository import reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.trust import Trust
from hookbus.audit.verify import LogVerifier

CHECKPOINTS_AT_ONCE: Final = 1_000
BEFORE_EVERY_SIZE: Final = -(2**63)
"""A row of a size below 0 is no checkpoint's, and must be met to be found."""


class StoredCheckpoints:
    """The checkpoints of one snapshot, given to a verifier as it advances."""

    def __init__(self, connection: Connection, trust: Trust) -> None:
        self._connection = connection
        self._trust = trust
        self._after = BEFORE_EVERY_SIZE

    async def expect_to(self, verifier: LogVerifier, size: int) -> None:
        """Have the verifier expect those of a size up to ``size`` that it does not expect yet.

        Raises:
            FaultError: one is not what the log signed.
        """
        while self._after < size:
            rows = await reading.read_checkpoints(self._connection, self._after, CHECKPOINTS_AT_ONCE, size)
            verifier.expect(await asyncio.to_thread(_opened, rows, self._trust))
            self._after = rows[-1].size if len(rows) == CHECKPOINTS_AT_ONCE else size

    async def expect_next(self, verifier: LogVerifier) -> None:
        """Have the verifier expect the next one, where there is one: of a log at its end it promises too much."""
        rows = await reading.read_checkpoints(self._connection, self._after, 1)
        verifier.expect(await asyncio.to_thread(_opened, rows, self._trust))


def _opened(rows: Sequence[reading.StoredCheckpoint], trust: Trust) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    for stored in rows:
        try:
            checkpoint = trust.open(stored.note).checkpoint
        except NoteInvalidError as error:
            raise FaultError(None, f"the stored checkpoint of size {stored.size} is forged: {error}") from error
        if checkpoint.size != stored.size:
            raise FaultError(None, f"the stored checkpoint of size {stored.size} is that of size {checkpoint.size}")
        if checkpoint.root != stored.root:
            raise FaultError(None, f"the stored checkpoint of size {stored.size} is kept with a root it does not name")
        found.append(checkpoint)
    return found
