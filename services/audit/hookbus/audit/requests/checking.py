"""The check of the whole log, and how far it is."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from hookbus.audit.checking import Means, Progress, check_log
from hookbus.audit.log import Log
from hookbus.audit.note import Checkpoint, NoteInvalidError
from hookbus.audit.opened import OpenLog
from hookbus.audit.requests.published import reach_signer
from hookbus.contracts import audit as wire
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcServer
from hookbus.platform.database.engine import Database

CHECKS_CONCURRENT_MAX: Final = 1
"""Whole-log checks at once: each reads everything."""


class CheckingRequests:
    """The RPC methods that recompute everything."""

    def __init__(self, database: Database, log: Log, database_url: str) -> None:
        self._database = database
        self._database_url = database_url
        self._log = log
        self._checks = asyncio.Semaphore(CHECKS_CONCURRENT_MAX)
        self._progress: dict[str, tuple[int, int]] = {}

    def register(self, server: RpcServer) -> None:
        """Answer every method."""
        server.method("verify", wire.VerifyRequest, self.verify)
        server.method("verify_progress", wire.VerifyProgressRequest, self.verify_progress)

    async def verify_progress(self, request: wire.VerifyProgressRequest) -> wire.VerifyProgressReply:
        """How far a check is; zeros where this process has none under that word."""
        checked, size = self._progress.get(request.watch, (0, 0))
        return wire.VerifyProgressReply(checked=checked, size=size)

    async def verify(self, request: wire.VerifyRequest) -> wire.VerifyReply:
        """Check the whole log against everything this service ever signed, and what the caller remembers.

        Where a key was handed over in the meantime, a fault may be a checkpoint of a key not known yet: once more.
        """
        opened = self._log.opened
        await reach_signer(opened)
        known = opened.signer.handovers
        reply = await self._verified(opened, request)
        if not reply.ok:
            await reach_signer(opened)
            if opened.signer.handovers != known:
                reply = await self._verified(opened, request)
        return reply

    async def _verified(self, opened: OpenLog, request: wire.VerifyRequest) -> wire.VerifyReply:
        trust = opened.signer.trust
        remembered: list[Checkpoint] = [] if opened.signer.last is None else [opened.signer.last]
        if request.checkpoint is not None:
            try:
                remembered.append(trust.open(request.checkpoint).checkpoint)
            except NoteInvalidError as error:
                raise ProblemError(ProblemCode.BODY_INVALID, f"the remembered checkpoint: {error}") from error
        try:
            remembered += [trust.open(note).checkpoint for note in opened.outreach.remembered()]
        except (OSError, ValueError, KeyError, NoteInvalidError) as error:
            return wire.VerifyReply(
                ok=False, size=0, root_hash="", checked=0, fault=f"the anchor file is damaged: {error}"
            )
        async with self._checks, self._database.raw() as connection:
            with self._watched(request.watch) as progress:
                finding = await check_log(
                    connection,
                    trust=trust,
                    remembered=remembered,
                    means=self._means(opened, request),
                    progress=progress,
                )
        fault = finding.fault
        return wire.VerifyReply(
            ok=fault is None,
            size=finding.size,
            root_hash=finding.root.hex(),
            checked=finding.checked,
            first_bad_index=None if fault is None else fault.index,
            fault=None if fault is None else str(fault),
        )

    def _means(self, opened: OpenLog, request: wire.VerifyRequest) -> Means:
        depth = request.depth
        if depth is None:
            depth = wire.VerifyDepth.ALL if request.decrypt else wire.VerifyDepth.LEAVES
        if depth is wire.VerifyDepth.CHECKPOINTS:
            return Means(hashes_only=True)
        return Means(opened.keyring if depth is wire.VerifyDepth.ALL else None, self._database_url)

    @contextmanager
    def _watched(self, watch: str | None) -> Generator[Progress]:
        def progress(checked: int, size: int) -> None:
            if watch is not None:
                self._progress[watch] = (checked, size)

        try:
            yield progress
        finally:
            if watch is not None:
                self._progress.pop(watch, None)
