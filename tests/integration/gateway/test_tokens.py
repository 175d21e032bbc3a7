"""Access tokens as the gateway checks them: each claim counts, and so does the state of the session."""

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey
from support.bus import new_broker, started
from support.servers import NatsFixture

from hookbus.contracts.budget import Empty
from hookbus.contracts.people import JwksReply, PersonSessionRecord, PersonSessionRequest, PublicKey, Role
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.contracts.subjects import BUCKET_REVOCATIONS
from hookbus.gateway.keys import RECORD_AGE_S_MAX
from hookbus.gateway.tokens import TokenChecker, TokenRefusedError, looks_like_token
from hookbus.platform.bus.connection import Broker, jetstream
from hookbus.platform.bus.rpc import RpcClient, RpcServer


@dataclass
class Desk:
    """A checker, and the session service's side of it."""

    checker: TokenChecker
    session: Broker
    key: OKPKey
    kid: str
    looked_up: list[str]
    nats: NatsFixture

    async def record(self, **changed: Any) -> PersonSessionRecord:
        """A live session in the bucket."""
        fields: dict[str, Any] = {
            "sid": f"person-{uuid.uuid4().hex}",
            "username": "ann",
            "role": Role.OPERATOR,
            "epoch": 3,
            "must_change_password": False,
            "ended": False,
            "expires_at": datetime.now(UTC) + timedelta(days=1),
        }
        record = PersonSessionRecord.model_validate(fields | changed)
        bucket = await jetstream(self.session).key_value(BUCKET_REVOCATIONS)
        await bucket.put(record.sid, record.model_dump_json().encode())
        return record

    def token(self, sid: str, **changed: Any) -> str:
        now_s = int(time.time())
        claims = {
            "iss": "hookbus",
            "aud": "hookbus-gateway",
            "sub": "ann",
            "sid": sid,
            "epoch": 3,
            "iat": now_s,
            "exp": now_s + 600,
        }
        return jwt.encode({"alg": "EdDSA", "kid": self.kid}, claims | changed, self.key, algorithms=["EdDSA"])

    async def refused(self, token: str) -> bool:
        try:
            await self.checker.check(token)
        except TokenRefusedError:
            return True
        return False


@pytest.fixture
async def desk(own_nats_server: NatsFixture) -> AsyncIterator[Desk]:
    key = OKPKey.generate_key("Ed25519")
    kid = key.thumbprint()
    session, gateway = new_broker(own_nats_server, "session"), new_broker(own_nats_server, "gateway")
    looked_up: list[str] = []
    server = RpcServer(session, "session")

    async def jwks(_request: Empty) -> JwksReply:
        return JwksReply(keys=(PublicKey(x=str(key.as_dict(private=False)["x"]), kid=kid),))

    async def lookup(request: PersonSessionRequest) -> PersonSessionRecord:
        looked_up.append(request.sid)
        raise ProblemError(ProblemCode.NOT_FOUND, "no such session")

    server.method("jwks", Empty, jwks)
    server.method("person_lookup", PersonSessionRequest, lookup)
    async with started(session, gateway):
        checker = TokenChecker(gateway, RpcClient(gateway))
        yield Desk(checker, session, key, kid, looked_up, own_nats_server)


async def test_a_good_token_names_its_person(desk: Desk) -> None:
    record = await desk.record()
    token = desk.token(record.sid)
    assert looks_like_token(token)
    holder = await desk.checker.check(token)
    assert (holder.username, holder.sid, holder.must_change_password) == ("ann", record.sid, False)
    assert KeyScope.SESSION in holder.scopes
    assert KeyScope.ADMIN not in holder.scopes


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "somebody"},
        {"aud": "another-gateway"},
        {"aud": ["hookbus-gateway", "x"]},
        {"sub": "admin"},
        {"epoch": 2},
        {"epoch": 4},
        {"epoch": True},
        {"epoch": "3"},
        {"epoch": None},
        {"exp": int(time.time()) - 1},
        {"exp": None},
        {"exp": "9999999999"},
        {"sid": "s-of-an-agent"},
        {"sid": None},
    ],
)
async def test_each_claim_counts(desk: Desk, changed: dict[str, Any]) -> None:
    record = await desk.record()
    assert await desk.refused(desk.token(**{"sid": record.sid, **changed}))
    assert not await desk.refused(desk.token(record.sid))


async def test_the_state_of_the_session_counts(desk: Desk) -> None:
    """Ended, over its age, unknown: nobody. What the bucket lacks is asked of the service."""
    for changed in ({"ended": True}, {"expires_at": datetime.now(UTC)}):
        record = await desk.record(**changed)
        assert await desk.refused(desk.token(record.sid)), changed
    unknown = f"person-{uuid.uuid4().hex}"
    assert await desk.refused(desk.token(unknown))
    assert desk.looked_up == [unknown]


async def test_an_end_counts_within_the_age_of_a_record(desk: Desk) -> None:
    record = await desk.record()
    token = desk.token(record.sid)
    assert not await desk.refused(token)
    await desk.record(sid=record.sid, ended=True)
    began = time.monotonic()
    while not await desk.refused(token):
        assert time.monotonic() - began < 2 * RECORD_AGE_S_MAX


async def test_a_token_of_a_newer_epoch_is_good_at_once(desk: Desk) -> None:
    """After a password change the answer's own token must not meet what is still held."""
    record = await desk.record()
    assert not await desk.refused(desk.token(record.sid))
    await desk.record(sid=record.sid, epoch=4)
    assert not await desk.refused(desk.token(record.sid, epoch=4))
    assert await desk.refused(desk.token(record.sid, epoch=3))


async def test_another_key_under_the_known_name_signs_nothing(desk: Desk) -> None:
    record = await desk.record()
    own = Desk(desk.checker, desk.session, OKPKey.generate_key("Ed25519"), desk.kid, [], desk.nats)
    assert await desk.refused(own.token(record.sid))
    stranger = Desk(desk.checker, desk.session, own.key, own.key.thumbprint(), [], desk.nats)
    assert await desk.refused(stranger.token(record.sid))


async def test_a_bucket_that_cannot_be_read_lets_nobody_in(desk: Desk) -> None:
    """Keys are known, the signature is good, the state is not to be had: unavailable, never in."""
    record = await desk.record()
    token = desk.token(record.sid)
    assert not await desk.refused(token)
    desk.nats.stop()
    deadline = time.monotonic() + RECORD_AGE_S_MAX + 0.1
    while time.monotonic() < deadline:
        pass
    with pytest.raises(ProblemError) as problem:
        await desk.checker.check(token)
    assert problem.value.problem.code is ProblemCode.UNAVAILABLE
    desk.nats.start()
