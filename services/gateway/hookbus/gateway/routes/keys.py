"""``/api/v1/keys``: API keys. The key itself is in the answer that creates it and nowhere else."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from hookbus.contracts.fields import WireModel
from hookbus.contracts.limits import PAGE_ITEMS_MAX
from hookbus.contracts.session import (
    KeyCreateReply,
    KeyCreateRequest,
    KeyId,
    KeyListReply,
    KeyListRequest,
    KeyName,
    KeyRevokeRequest,
    KeyScope,
    KeyView,
)
from hookbus.gateway.calls import Admin, Cursor, PageItems, StateOf, body, describes, needs

SERVICE: Final = "session"
TTL_MIN_S: Final = 60
TTL_MAX_S: Final = 10 * 365 * 86_400

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


class KeyBody(WireModel):
    """A key to create."""

    name: KeyName
    scopes: Annotated[frozenset[KeyScope], Field(min_length=1)]
    ttl_seconds: Annotated[int, Field(strict=True, ge=TTL_MIN_S, le=TTL_MAX_S)] | None = None


@router.get("", response_model_exclude_none=True, openapi_extra=needs(KeyScope.ADMIN))
async def list_keys(
    state: StateOf, _caller: Admin, cursor: Cursor = None, page_items: PageItems = PAGE_ITEMS_MAX
) -> KeyListReply:
    """The keys, newest first, without their secrets."""
    request = KeyListRequest(cursor=cursor, page_items_max=page_items)
    return await state.peers.call(SERVICE, "key_list", request, KeyListReply)


@router.post(
    "",
    status_code=201,
    response_model_exclude_none=True,
    openapi_extra=describes(KeyBody, scope=KeyScope.ADMIN),
)
async def create_key(state: StateOf, caller: Admin, key: Annotated[KeyBody, Depends(body(KeyBody))]) -> KeyCreateReply:
    """Create a key. Its text is shown this once."""
    request = KeyCreateRequest(name=key.name, scopes=key.scopes, ttl_seconds=key.ttl_seconds, actor=caller.actor)
    return await state.peers.call(SERVICE, "key_create", request, KeyCreateReply)


@router.delete("/{key_id}", response_model_exclude_none=True, openapi_extra=needs(KeyScope.ADMIN))
async def revoke_key(state: StateOf, caller: Admin, key_id: Annotated[KeyId, Path()]) -> KeyView:
    """Revoke a key: every gateway refuses it within a second."""
    request = KeyRevokeRequest(key_id=key_id, actor=caller.actor)
    return await state.peers.call(SERVICE, "key_revoke", request, KeyView)
