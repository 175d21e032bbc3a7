"""Erasure, rotation, pruning."""

from hookbus.audit import administration
from hookbus.audit.keys import KeyUnusableError
from hookbus.audit.log import Log
from hookbus.audit.passphrases import KekKind
from hookbus.audit.pruning import Limit, Pruning
from hookbus.audit.signing.client import SignerAwayError
from hookbus.audit.signing.files import KeyFileError
from hookbus.audit.signing.signer import SigningRefusedError
from hookbus.contracts import audit as wire
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcServer
from hookbus.platform.database.engine import Database


class AdministrationRequests:
    """The RPC methods that change keys. Only the process that appends serves them; another says unavailable."""

    def __init__(self, database: Database, log: Log, pruning: Pruning) -> None:
        self._database = database
        self._log = log
        self._pruning = pruning

    def register(self, server: RpcServer) -> None:
        """Answer every method."""
        server.method("erase", wire.EraseRequest, self.erase)
        server.method("rotate_wrapping", wire.RotateWrappingRequest, self.rotate_wrapping)
        server.method("rotate_signing", wire.RotateRequest, self.rotate_signing)
        server.method("prune", wire.PruneRequest, self.prune)

    async def erase(self, request: wire.EraseRequest) -> wire.EraseReply:
        """Make everything about an agent unreadable."""
        erasure = await administration.erase(
            self._log.opened,
            self._database,
            agent=request.agent_id,
            actor=request.actor,
            reason=request.reason,
        )
        return wire.EraseReply(keys=erasure.keys, entries=erasure.entries)

    async def rotate_wrapping(self, request: wire.RotateWrappingRequest) -> wire.RotateWrappingReply:
        """A new passphrase or key file over the same data keys."""
        to = None if request.to is None else KekKind(request.to)
        try:
            count = await administration.rotate_wrapping(self._log.opened, actor=request.actor, to=to)
        except (KeyUnusableError, KeyFileError) as error:
            raise ProblemError(ProblemCode.CONFLICT, f"nothing is rotated: {error}") from error
        return wire.RotateWrappingReply(keys=count)

    async def prune(self, request: wire.PruneRequest) -> wire.PruneReply:
        """Drop the oldest partitions, signed and logged first."""
        try:
            pruned = await self._pruning.run(
                self._log.opened,
                Limit(request.below, request.before),
                actor=request.actor,
                reason=request.reason,
                dry_run=request.dry_run,
            )
        except (SigningRefusedError, SignerAwayError) as error:
            raise ProblemError(ProblemCode.UNAVAILABLE, str(error), retry_after_s=10) from error
        return wire.PruneReply(
            first=pruned.first,
            cut=pruned.cut,
            entries=pruned.cut - pruned.first,
            partitions=pruned.partitions,
            pending=pruned.pending,
            more=pruned.more,
            dry_run=request.dry_run,
        )

    async def rotate_signing(self, request: wire.RotateRequest) -> wire.RotateSigningReply:
        """A new signing key, named by the old one."""
        try:
            note = await administration.rotate_signing(self._log.opened, self._database, actor=request.actor)
        except (SigningRefusedError, SignerAwayError) as error:
            raise ProblemError(ProblemCode.UNAVAILABLE, str(error), retry_after_s=10) from error
        return wire.RotateSigningReply(note=note)
