"""``/api/v1/audit``: the log's entries, and what lets anybody check them without trusting this server."""

import base64
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response

from hookbus.contracts.agents import ForgetAgentReply, ForgetAgentRequest
from hookbus.contracts.audit import (
    CheckpointReply,
    CheckpointRequest,
    CheckpointsReply,
    CheckpointsRequest,
    ConsistencyRequest,
    DetachedReply,
    DetachedRequest,
    EntriesReply,
    EntriesRequest,
    EntryStream,
    EraseReply,
    EraseRequest,
    InclusionRequest,
    Order,
    ProofReply,
    PruneReply,
    PruneRequest,
    ReceiptReply,
    ReceiptRequest,
    RotateRequest,
    RotateSigningReply,
    RotateWrappingReply,
    RotateWrappingRequest,
    TileReply,
    TileRequest,
    VerifyReply,
    VerifyRequest,
)
from hookbus.contracts.fields import AgentId, EventId, UtcTime, Words
from hookbus.contracts.limits import PAGE_ITEMS_DEFAULT
from hookbus.contracts.session import KeyScope
from hookbus.gateway.auth import Principal
from hookbus.gateway.calls import Auditor, Cursor, PageItems, StateOf, body, describes, needs, require
from hookbus.gateway.peers import SLOW_CALL_TIMEOUT_S

SERVICE: Final = "audit"
READ: Final = needs(KeyScope.AUDIT)
KEEP: Final = needs(KeyScope.ADMIN)
LOG_TIMEOUT_S: Final = 10.0
"""For what reads many rows."""
VERIFY_TIMEOUT_S: Final = 590.0
"""A check takes as long as the log is; a little less than the command line waits."""
INDEX_MAX: Final = 2**63 - 1
TILE_CACHE: Final = "private, max-age=31536000, immutable"
"""A tile never changes, nor does a partial one: its width is part of its name."""
CHECKPOINT_CACHE: Final = "no-cache"
CHECKPOINTS_PER_PAGE_MAX: Final = 500

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

Keeper = Annotated[Principal, Depends(require(KeyScope.ADMIN))]
"""Who may change the log's keys."""
Filter = Annotated[Words | None, Query()]
Index = Annotated[int, Query(ge=0, le=INDEX_MAX)]


@router.get("/entries", response_model_exclude_none=True, openapi_extra=READ)
async def entries(
    state: StateOf,
    caller: Auditor,
    *,
    order: Order = Order.OLDEST,
    stream: EntryStream | None = None,
    agent: AgentId | None = None,
    kind: Filter = None,
    session: Filter = None,
    project: Filter = None,
    outcome: Filter = None,
    since: UtcTime | None = None,
    until: UtcTime | None = None,
    cursor: Cursor = None,
    page_items: PageItems = PAGE_ITEMS_DEFAULT,
) -> EntriesReply:
    """Decrypted entries, oldest first unless asked otherwise."""
    request = EntriesRequest(
        order=order,
        stream=stream,
        agent=agent,
        kind=kind,
        session=session,
        project=project,
        outcome=outcome,
        since=since,
        until=until,
        cursor=cursor,
        page_items_max=page_items,
        actor=caller.actor,
    )
    return await state.peers.call(SERVICE, "entries", request, EntriesReply, timeout_s=LOG_TIMEOUT_S)


@router.get("/receipts/{event_id}", openapi_extra=READ)
async def receipt(state: StateOf, _caller: Auditor, event_id: Annotated[EventId, Path()]) -> ReceiptReply:
    """Where an event lies in the log, with everything an offline check needs."""
    request = ReceiptRequest(event_id=event_id)
    return await state.peers.call(SERVICE, "receipt", request, ReceiptReply, timeout_s=LOG_TIMEOUT_S)


@router.get(
    "/checkpoint",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    openapi_extra=READ,
)
async def checkpoint(state: StateOf, _caller: Auditor) -> Response:
    """The newest checkpoint, as a C2SP signed note."""
    reply = await state.peers.call(SERVICE, "checkpoint", CheckpointRequest(), CheckpointReply)
    headers = {"Cache-Control": CHECKPOINT_CACHE}
    return Response(reply.note, media_type="text/plain; charset=utf-8", headers=headers)


@router.get("/key", openapi_extra=READ)
async def key(state: StateOf, _caller: Auditor) -> CheckpointReply:
    """The log's first public key and the handovers from it, with the newest checkpoint. Pin the key once."""
    return await state.peers.call(SERVICE, "checkpoint", CheckpointRequest(), CheckpointReply)


@router.get("/checkpoints", openapi_extra=READ)
async def checkpoints(
    state: StateOf,
    _caller: Auditor,
    *,
    after_size: Annotated[int, Query(ge=-1, le=INDEX_MAX)] = -1,
    page_items: Annotated[int, Query(ge=1, le=CHECKPOINTS_PER_PAGE_MAX)] = PAGE_ITEMS_DEFAULT,
) -> CheckpointsReply:
    """Every checkpoint kept, smallest first."""
    request = CheckpointsRequest(after_size=after_size, page_items_max=page_items)
    return await state.peers.call(SERVICE, "checkpoints", request, CheckpointsReply, timeout_s=LOG_TIMEOUT_S)


@router.get(
    "/tile/{path:path}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
    openapi_extra=READ,
)
async def tile(state: StateOf, _caller: Auditor, path: Annotated[str, Path(min_length=1, max_length=128)]) -> Response:
    """A tile of hashes or a bundle of entries, by its C2SP tlog-tiles path below ``tile/``."""
    reply = await state.peers.call(SERVICE, "tile", TileRequest(path=path), TileReply, timeout_s=LOG_TIMEOUT_S)
    return _immutable(reply.body)


@router.get(
    "/detached/{index}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
    openapi_extra=READ,
)
async def detached(state: StateOf, _caller: Auditor, index: Annotated[int, Path(ge=0, le=INDEX_MAX)]) -> Response:
    """The ciphertext of an entry too large for an entry bundle, which holds its hash."""
    reply = await state.peers.call(
        SERVICE, "detached", DetachedRequest(index=index), DetachedReply, timeout_s=LOG_TIMEOUT_S
    )
    return _immutable(reply.body)


@router.get("/proof/inclusion", openapi_extra=READ)
async def inclusion(
    state: StateOf, _caller: Auditor, index: Index, size: Annotated[int, Query(ge=1, le=INDEX_MAX)]
) -> ProofReply:
    """The RFC 9162 proof that the entry ``index`` is in the tree of ``size``."""
    request = InclusionRequest(index=index, size=size)
    return await state.peers.call(SERVICE, "inclusion", request, ProofReply, timeout_s=LOG_TIMEOUT_S)


@router.get("/proof/consistency", openapi_extra=READ)
async def consistency(
    state: StateOf,
    _caller: Auditor,
    from_size: Annotated[int, Query(ge=0, le=INDEX_MAX, alias="from")],
    to_size: Annotated[int, Query(ge=0, le=INDEX_MAX, alias="to")],
) -> ProofReply:
    """The RFC 9162 proof that the tree of ``to`` only adds to the tree of ``from``."""
    request = ConsistencyRequest(from_size=from_size, to_size=to_size)
    return await state.peers.call(SERVICE, "consistency", request, ProofReply, timeout_s=LOG_TIMEOUT_S)


@router.get("/verify", openapi_extra=READ)
async def verify(state: StateOf, _caller: Auditor, *, decrypt: bool = True) -> VerifyReply:
    """Recompute the whole log from its rows and name the first thing that is wrong."""
    request = VerifyRequest(decrypt=decrypt)
    return await state.peers.call(SERVICE, "verify", request, VerifyReply, timeout_s=VERIFY_TIMEOUT_S)


@router.post("/verify", openapi_extra=describes(VerifyRequest, optional=True, scope=KeyScope.AUDIT))
async def verify_from(
    state: StateOf,
    _caller: Auditor,
    request: Annotated[VerifyRequest, Depends(body(VerifyRequest, optional=True))],
) -> VerifyReply:
    """The same, and that the log still leads to a checkpoint the caller kept."""
    return await state.peers.call(SERVICE, "verify", request, VerifyReply, timeout_s=VERIFY_TIMEOUT_S)


@router.delete("/subjects/{agent_id}", openapi_extra=KEEP)
async def erase(
    state: StateOf,
    caller: Keeper,
    agent_id: Annotated[AgentId, Path()],
    reason: Annotated[Words, Query()] = "",
) -> EraseReply:
    """Make everything the log holds about an agent unreadable for good, and remove its notes. Its proofs still hold."""
    # First what can be repeated: the tombstone in the log says that the agent is gone everywhere.
    await state.peers.call("session", "forget_agent", ForgetAgentRequest(agent_id=agent_id), ForgetAgentReply)
    request = EraseRequest(agent_id=agent_id, actor=caller.actor, reason=reason)
    return await state.peers.call(SERVICE, "erase", request, EraseReply, timeout_s=SLOW_CALL_TIMEOUT_S)


@router.post("/keys/wrapping/rotate", openapi_extra=KEEP)
async def rotate_wrapping(
    state: StateOf, caller: Keeper, *, to: Annotated[Literal["passphrase", "key-file"] | None, Query()] = None
) -> RotateWrappingReply:
    """Wrap every data key under a new passphrase or key file; of the kind in use where nothing is said."""
    request = RotateWrappingRequest(actor=caller.actor, to=to)
    return await state.peers.call(
        SERVICE, "rotate_wrapping", request, RotateWrappingReply, timeout_s=SLOW_CALL_TIMEOUT_S
    )


@router.post("/keys/signing/rotate", openapi_extra=KEEP)
async def rotate_signing(state: StateOf, caller: Keeper) -> RotateSigningReply:
    """Hand the signing of checkpoints over to a new key."""
    request = RotateRequest(actor=caller.actor)
    return await state.peers.call(SERVICE, "rotate_signing", request, RotateSigningReply, timeout_s=LOG_TIMEOUT_S)


@router.post("/prune", openapi_extra=describes(PruneRequest, scope=KeyScope.ADMIN))
async def prune(
    state: StateOf, caller: Keeper, request: Annotated[PruneRequest, Depends(body(PruneRequest))]
) -> PruneReply:
    """Drop whole partitions of the oldest entries; their hashes and a signed record stay, so proofs still hold."""
    request = request.model_copy(update={"actor": caller.actor})
    return await state.peers.call(SERVICE, "prune", request, PruneReply, timeout_s=SLOW_CALL_TIMEOUT_S)


def _immutable(body_base64: str) -> Response:
    return Response(
        base64.b64decode(body_base64), media_type="application/octet-stream", headers={"Cache-Control": TILE_CACHE}
    )
