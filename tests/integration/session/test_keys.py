"""API keys over the real bus: made, found by gateways, revoked within a second, and nowhere readable."""

import hashlib
import time

import pytest
from nats.aio.client import Client
from support.session_service import SessionStack
from support.waiting import eventually

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import (
    ApiKeyRecord,
    KeyCreateReply,
    KeyCreateRequest,
    KeyListReply,
    KeyListRequest,
    KeyLookupRequest,
    KeyRevokeRequest,
    KeyScope,
    KeyView,
)
from hookbus.contracts.subjects import BUCKET_API_KEYS

REVOCATION_S_MAX = 1.0


async def in_bucket(stack: SessionStack, key_id: str) -> ApiKeyRecord | None:
    client = await stack.nats.connect("gateway")
    try:
        bucket = await client.jetstream().key_value(BUCKET_API_KEYS)
        try:
            return ApiKeyRecord.model_validate_json((await bucket.get(key_id)).value or b"")
        except Exception:  # noqa: BLE001 - not there
            return None
    finally:
        await client.close()


async def create(stack: SessionStack) -> KeyCreateReply:
    request = KeyCreateRequest(name="ci", scopes=frozenset({KeyScope.EVENTS, KeyScope.SESSION}), actor="ann")
    return await stack.rpc.call("session", "key_create", request, KeyCreateReply)


async def test_a_key_is_in_the_bucket_when_it_is_answered_and_revoked_within_a_second(stack: SessionStack) -> None:
    made = await create(stack)
    record = await in_bucket(stack, made.key.key_id)
    assert record is not None
    assert record.secret_sha256 == hashlib.sha256(made.api_key.encode()).hexdigest()
    assert not record.revoked

    begin_s = time.monotonic()
    revoke = KeyRevokeRequest(key_id=made.key.key_id, actor="ann")
    revoked = await stack.rpc.call("session", "key_revoke", revoke, KeyView)
    record = await in_bucket(stack, made.key.key_id)
    assert time.monotonic() - begin_s < REVOCATION_S_MAX
    assert record is not None
    assert record.revoked
    again = await stack.rpc.call("session", "key_revoke", revoke, KeyView)
    assert again.revoked_at == revoked.revoked_at
    looked_up = await stack.rpc.call("session", "key_lookup", KeyLookupRequest(key_id=made.key.key_id), ApiKeyRecord)
    assert looked_up.revoked
    listed = await stack.rpc.call("session", "key_list", KeyListRequest(), KeyListReply)
    assert made.key.key_id in {key.key_id for key in listed.keys}


async def test_an_unknown_key_is_not_found(stack: SessionStack) -> None:
    for method, request, reply in (
        ("key_lookup", KeyLookupRequest(key_id="0" * 12), ApiKeyRecord),
        ("key_revoke", KeyRevokeRequest(key_id="0" * 12), KeyView),
    ):
        with pytest.raises(ProblemError) as problem:
            await stack.rpc.call("session", method, request, reply)
        assert problem.value.problem.code is ProblemCode.NOT_FOUND


async def test_the_text_of_a_key_is_stored_nowhere(stack: SessionStack) -> None:
    """Neither the table nor the security events hold the secret part of a key."""
    made = await create(stack)
    secret = made.api_key.rsplit("_", 1)[1]
    async with stack.database.raw() as connection:
        rows = await connection.fetch("SELECT k::text AS row FROM session.api_keys k")
    assert not any(secret in row["row"] for row in rows)
    client = await stack.nats.connect("provision")
    try:
        await eventually(lambda: _last_created_names(client, made.key.key_id, secret))
    finally:
        await client.close()


async def _last_created_names(client: Client, key_id: str, secret: str) -> bool:
    last = await client.jetstream().get_last_msg("SECURITY", "security.key_created")
    assert secret.encode() not in (last.data or b"")
    return key_id.encode() in (last.data or b"")
