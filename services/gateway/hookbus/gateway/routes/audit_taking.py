"""``/api/v1/audit``: how far a check is, how far the anchors are, and the data keys for a check elsewhere."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from hookbus.contracts.anchors import AnchorsReply, AnchorsRequest
from hookbus.contracts.audit import (
    ExportKeysReply,
    ExportKeysRequest,
    VerifyProgressReply,
    VerifyProgressRequest,
    Watch,
)
from hookbus.contracts.session import KeyScope
from hookbus.gateway.calls import Admin, Auditor, StateOf, body, describes, needs
from hookbus.gateway.routes.audit import LOG_TIMEOUT_S, SERVICE

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])

READ: Final = needs(KeyScope.AUDIT)


@router.get("/verify/progress", openapi_extra=READ)
async def verify_progress(state: StateOf, _caller: Auditor, watch: Annotated[Watch, Query()]) -> VerifyProgressReply:
    """How far the check is that was begun under the word ``watch``."""
    request = VerifyProgressRequest(watch=watch)
    return await state.peers.call(SERVICE, "verify_progress", request, VerifyProgressReply)


@router.get("/anchors", response_model_exclude_none=True, openapi_extra=READ)
async def anchors(state: StateOf, _caller: Auditor) -> AnchorsReply:
    """Where checkpoints are kept beyond the log's own reach, and how far behind each place is."""
    return await state.peers.call(SERVICE, "anchors", AnchorsRequest(), AnchorsReply)


@router.post("/keys/export", openapi_extra=describes(ExportKeysRequest, scope=KeyScope.ADMIN))
async def export_keys(
    state: StateOf,
    caller: Admin,
    request: Annotated[ExportKeysRequest, Depends(body(ExportKeysRequest))],
) -> ExportKeysReply:
    """The data keys, sealed to a key of the caller's; each page is an entry of the log."""
    asked = request.model_copy(update={"actor": caller.actor})
    return await state.peers.call(SERVICE, "export_keys", asked, ExportKeysReply, timeout_s=LOG_TIMEOUT_S)
