"""Proofs, tiles, bundles and checkpoints: what anybody with the public key can check, none of it decrypted."""

import base64
import struct
from collections.abc import Awaitable
from typing import Final

from hookbus.audit.log import Log
from hookbus.audit.note import Checkpoint, SignedNote
from hookbus.audit.proofs import consistency_proof, inclusion_proof
from hookbus.audit.repository import anchoring, appending, pruning, reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.requests.published import handovers_to, latest, require_kept, require_published
from hookbus.audit.tiles import TILE_WIDTH, TileAddress
from hookbus.audit.tree import HASH_BYTES
from hookbus.contracts import anchors
from hookbus.contracts import audit as wire
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcServer
from hookbus.platform.database.engine import Database

_BUNDLE_LENGTH: Final = struct.Struct(">H")


class ProvingRequests:
    """The RPC methods of proofs and static resources."""

    def __init__(self, database: Database, log: Log) -> None:
        self._database = database
        self._log = log

    def register(self, server: RpcServer) -> None:
        """Answer every method."""
        server.method("checkpoint", wire.CheckpointRequest, self.checkpoint)
        server.method("checkpoints", wire.CheckpointsRequest, self.checkpoints)
        server.method("anchors", anchors.AnchorsRequest, self.anchors)
        server.method("inclusion", wire.InclusionRequest, self.inclusion)
        server.method("consistency", wire.ConsistencyRequest, self.consistency)
        server.method("tile", wire.TileRequest, self.tile)
        server.method("detached", wire.DetachedRequest, self.detached)

    async def checkpoint(self, _request: wire.CheckpointRequest) -> wire.CheckpointReply:
        """The newest signed checkpoint."""
        opened = self._log.opened
        async with self._database.raw() as connection:
            note, checkpoint = await latest(connection)
            pruned = await pruning.newest_prune(connection)
        if pruned is not None and pruned.index >= checkpoint.size:
            pruned = None
        handovers = await handovers_to(opened, note)
        return wire.CheckpointReply(
            note=note,
            size=checkpoint.size,
            root_hash=checkpoint.root.hex(),
            verifier_key=opened.signer.trust.epochs[0].key.text,
            handovers=handovers,
            pruned=None if pruned is None else pruned.note,
            pruned_index=None if pruned is None else pruned.index,
        )

    async def anchors(self, _request: anchors.AnchorsRequest) -> anchors.AnchorsReply:
        """How far each anchor and witness is behind the newest checkpoint."""
        async with self._database.raw() as connection:
            note = await reading.latest_note(connection)
            rows = await anchoring.read_anchors(connection)
        size = 0 if note is None else Checkpoint.parse(SignedNote.parse(note).text).size
        return anchors.AnchorsReply(
            size=size,
            anchors=tuple(
                anchors.AnchorView(
                    kind=row.kind,
                    name=row.name,
                    size=row.size,
                    lag_entries=max(0, size - row.size),
                    reached_at=row.reached_at,
                    fault=row.fault,
                    fault_at=row.fault_at,
                )
                for row in rows
            ),
        )

    async def inclusion(self, request: wire.InclusionRequest) -> wire.ProofReply:
        """An inclusion proof; sizes beyond the newest checkpoint are refused."""
        async with self._database.raw() as connection:
            await require_published(connection, request.size)
            if request.index >= request.size:
                raise ProblemError(ProblemCode.BODY_INVALID, "the index lies outside the tree")
            proof = await _or_not_found(inclusion_proof(connection, request.index, request.size))
        return wire.ProofReply(hashes=tuple(item.hex() for item in proof))

    async def consistency(self, request: wire.ConsistencyRequest) -> wire.ProofReply:
        """A consistency proof; sizes beyond the newest checkpoint are refused."""
        async with self._database.raw() as connection:
            await require_published(connection, request.to_size)
            if request.from_size > request.to_size:
                raise ProblemError(ProblemCode.BODY_INVALID, "the earlier size is the larger one")
            proof = await _or_not_found(consistency_proof(connection, request.from_size, request.to_size))
        return wire.ProofReply(hashes=tuple(item.hex() for item in proof))

    async def tile(self, request: wire.TileRequest) -> wire.TileReply:
        """A tile or entry bundle of a published size."""
        try:
            address = TileAddress.parse(request.path)
        except ValueError as error:
            raise ProblemError(ProblemCode.NOT_FOUND, str(error)) from error
        async with self._database.raw() as connection:
            _, checkpoint = await latest(connection)
            if not address.exists_at(checkpoint.size):
                raise ProblemError(ProblemCode.NOT_FOUND, "no checkpoint covers this tile")
            if address.level is None:
                body = await _bundle(connection, address)
            else:
                body = await appending.tile_hashes(connection, address)
                if len(body) != address.width * HASH_BYTES:
                    raise ProblemError(ProblemCode.NOT_FOUND, "the tile is not there (any more)")
        return wire.TileReply(body=base64.b64encode(body).decode(), complete=address.complete)

    async def checkpoints(self, request: wire.CheckpointsRequest) -> wire.CheckpointsReply:
        """Every checkpoint kept, smallest first."""
        async with self._database.raw() as connection:
            rows = await reading.read_checkpoints(connection, request.after_size, request.page_items_max + 1)
        more = len(rows) > request.page_items_max
        rows = rows[: request.page_items_max]
        return wire.CheckpointsReply(notes=tuple(row.note for row in rows), after_size=rows[-1].size if more else None)

    async def detached(self, request: wire.DetachedRequest) -> wire.DetachedReply:
        """The ciphertext that a record only names."""
        async with self._database.raw() as connection:
            entry = await reading.read_entry(connection, request.index)
            if entry is None:
                await require_kept(connection, request.index)
        if entry is None or entry.detached is None:
            raise ProblemError(ProblemCode.NOT_FOUND, "this entry has no detached part")
        return wire.DetachedReply(body=base64.b64encode(entry.detached).decode())


async def _or_not_found(proof: Awaitable[tuple[bytes, ...]]) -> tuple[bytes, ...]:
    try:
        return await proof
    except KeyError as error:
        raise ProblemError(ProblemCode.NOT_FOUND, "the log no longer holds what this proof needs") from error


async def _bundle(connection: Connection, address: TileAddress) -> bytes:
    records = await reading.read_bundle(connection, address.number * TILE_WIDTH, address.width)
    if len(records) != address.width:
        await require_kept(connection, address.number * TILE_WIDTH)
        raise ProblemError(ProblemCode.NOT_FOUND, "the bundle is not there (any more)")
    return b"".join(_BUNDLE_LENGTH.pack(len(record)) + record for record in records)
