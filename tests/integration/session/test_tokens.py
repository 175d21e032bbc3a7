"""Tokens: one successor however often a token is refreshed at once, and dead ones stay dead."""

import asyncio
import os
import time
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from support.bus import new_broker
from support.people import change_password, login, new_person, refresh
from support.servers import NatsFixture, PostgresFixture
from support.session_service import SessionStack, session_settings

from hookbus.contracts.budget import Empty
from hookbus.contracts.people import (
    JwksReply,
    LoginRequest,
    PersonSessionRecord,
    PersonSessionRequest,
    RefreshRequest,
    TokensReply,
)
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import SessionRequest, SessionState, SessionView
from hookbus.contracts.subjects import BUCKET_REVOCATIONS
from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.database.engine import Database
from hookbus.platform.service import running
from hookbus.session.app import build
from hookbus.session.domain.people import SESSIONS_PER_USER_MAX
from hookbus.session.domain.risk import Thresholds
from hookbus.session.handlers import utc_now
from hookbus.session.people.clients import Nowhere
from hookbus.session.people.hasher import Hasher
from hookbus.session.people.logins import Logins
from hookbus.session.people.parts import Parts
from hookbus.session.people.person_bucket import PersonSync
from hookbus.session.people.signing import KEY_AGE_MAX_S, KEY_LINGER_S, Signer
from hookbus.session.people.vault import Vault
from hookbus.session.people.watch import Watch
from hookbus.session.settings import SessionLimitPolicy

ROUNDS = int(os.environ.get("HOOKBUS_TEST_REFRESH_ROUNDS", "10"))
COPIES = 50

BUCKET_WAIT_S = 60.0


async def outcome(stack: SessionStack, token: str) -> TokensReply | ProblemCode:
    try:
        return await refresh(stack, token)
    except ProblemError as error:
        return error.problem.code


async def in_bucket(stack: SessionStack, sid: str) -> PersonSessionRecord:
    client = await stack.nats.connect("gateway")
    try:
        bucket = await client.jetstream().key_value(BUCKET_REVOCATIONS)
        return PersonSessionRecord.model_validate_json((await bucket.get(sid)).value or b"")
    finally:
        await client.close()


async def is_dead(stack: SessionStack, token: str) -> bool:
    return await outcome(stack, token) is ProblemCode.UNAUTHENTICATED


async def age(stack: SessionStack, sid: str, seconds: float) -> None:
    async with stack.database.raw() as connection:
        await connection.execute(
            "UPDATE session.person_sessions SET rotated_at = rotated_at - $2::interval WHERE sid = $1",
            sid,
            timedelta(seconds=seconds),
        )


async def test_many_refreshes_of_one_token_give_one_successor(stack: SessionStack) -> None:
    """Fifty at once, round after round: each round all are given the same successor, another one than the last."""
    person = await new_person(stack)
    token = person.tokens.refresh_token
    seen = {token}
    for _ in range(ROUNDS):
        replies = await asyncio.gather(*(refresh(stack, token) for _ in range(COPIES)))
        successors = {reply.refresh_token for reply in replies}
        assert len(successors) == 1
        (token,) = successors
        assert token not in seen
        seen.add(token)
    async with stack.database.raw() as connection:
        generation = await connection.fetchval(
            "SELECT generation FROM session.person_sessions WHERE sid = $1", person.tokens.session
        )
    assert generation == 2 + ROUNDS, "one for the login, one for the password, one for each round"


async def test_an_older_token_ends_the_session(stack: SessionStack) -> None:
    person = await new_person(stack)
    first = person.tokens.refresh_token
    second = (await refresh(stack, first)).refresh_token
    third = (await refresh(stack, second)).refresh_token
    assert await is_dead(stack, first)
    assert await is_dead(stack, third), "the family ends, the newest too"
    assert (await in_bucket(stack, person.tokens.session)).ended


async def test_the_predecessor_is_answered_for_the_grace_alone(stack: SessionStack) -> None:
    person = await new_person(stack)
    first = person.tokens.refresh_token
    second = (await refresh(stack, first)).refresh_token
    await age(stack, person.tokens.session, 28)
    assert (await refresh(stack, first)).refresh_token == second
    await age(stack, person.tokens.session, 3)
    assert await is_dead(stack, first)
    assert await is_dead(stack, second)


async def test_a_made_up_token_ends_nothing(stack: SessionStack) -> None:
    """Who knows a session's id cannot end it with a token of their own making."""
    person = await new_person(stack)
    token = person.tokens.refresh_token
    # The secret part may hold an underscore itself.
    prefix, session, generation, body = token.split("_", 3)
    head = f"{prefix}_{session}_{generation}"
    for forged in (
        f"{head}_{body[:-1]}{'B' if body[-1] == 'A' else 'A'}",
        token.replace("_2_", "_1_"),
        f"{head}_{'A' * 64}",
        "hbr_",
        f"{token}\n",
        f"hbr_person-{uuid.uuid4().hex}_1_{body}",
    ):
        assert await outcome(stack, forged) in (ProblemCode.UNAUTHENTICATED, ProblemCode.BODY_INVALID), forged
    assert (await refresh(stack, token)).session == person.tokens.session


async def test_a_session_ends_at_its_absolute_age(stack: SessionStack, postgres_server: PostgresFixture) -> None:
    """Refreshing does not move the end."""
    person = await new_person(stack)
    after = await refresh(stack, person.tokens.refresh_token)
    assert after.refresh_expires_at == person.tokens.refresh_expires_at
    # The service's own role cannot move an expiry.
    owner = await asyncpg.connect(postgres_server.owner_url)
    try:
        await owner.execute(
            "UPDATE session.person_sessions SET expires_at = now() WHERE sid = $1", person.tokens.session
        )
    finally:
        await owner.close()
    assert await is_dead(stack, after.refresh_token)


async def test_refresh_against_revoke_never_leaves_a_live_token(stack: SessionStack) -> None:
    """Whatever order the two come in, no token that any refresh returned can be refreshed afterwards."""
    for _ in range(20):
        person = await new_person(stack)
        token, sid = person.tokens.refresh_token, person.tokens.session

        async def end(sid: str = sid) -> None:
            await stack.rpc.call("session", "logout", PersonSessionRequest(sid=sid), PersonSessionRecord)

        got = await asyncio.gather(*(outcome(stack, token) for _ in range(4)), end(), *(outcome(stack, token),))
        returned = {one.refresh_token for one in got if isinstance(one, TokensReply)}
        for one in {token, *returned}:
            assert await is_dead(stack, one)
        assert (await in_bucket(stack, sid)).ended


async def test_parallel_logins_leave_three_sessions(stack: SessionStack) -> None:
    person = await new_person(stack)
    replies = await asyncio.gather(*(person.login() for _ in range(50)))
    alive = [one for one in replies if isinstance(await outcome(stack, one.refresh_token), TokensReply)]
    assert len(alive) == SESSIONS_PER_USER_MAX
    assert await is_dead(stack, person.tokens.refresh_token)


async def own_logins(stack: SessionStack, **parts: Any) -> Logins:
    """Logins of the same tables under other settings."""
    passphrase = stack.settings.token_passphrase.get_secret_value()
    signer = Signer(stack.database, passphrase, utc_now)
    await signer.refresh()
    sync = PersonSync(stack.database, new_broker(stack.nats, "session"))
    return Logins(Parts(stack.database, sync, Hasher(), signer, Vault(passphrase), wake=lambda: None, **parts))


async def test_a_login_too_many_is_refused_where_the_policy_says_so(stack: SessionStack) -> None:
    person = await new_person(stack)
    logins = await own_logins(stack, limit_policy=SessionLimitPolicy.REFUSE)
    request = LoginRequest(username=person.username, password=person.password)
    opened = [await logins.login(request) for _ in range(SESSIONS_PER_USER_MAX - 1)]
    with pytest.raises(ProblemError) as problem:
        await logins.login(request)
    assert problem.value.problem.code is ProblemCode.CONFLICT
    await stack.rpc.call("session", "logout", PersonSessionRequest(sid=opened[0].session), PersonSessionRecord)
    await logins.login(request)


async def test_a_replaced_token_ends_the_session_whatever_the_thresholds_say(stack: SessionStack) -> None:
    """Where no risk is ever high enough to end a session, a copy in use still is."""
    person = await new_person(stack)
    never = Thresholds(flag=1.0, ask=1.0, kill=1.0, tighten=1.0)
    logins = await own_logins(stack, watch=Watch(Nowhere(), never))
    first = person.tokens.refresh_token
    second = (await logins.refresh(RefreshRequest(refresh_token=first))).refresh_token
    third = (await logins.refresh(RefreshRequest(refresh_token=second))).refresh_token
    for dead in (first, third):
        with pytest.raises(ProblemError) as problem:
            await logins.refresh(RefreshRequest(refresh_token=dead))
        assert problem.value.problem.code is ProblemCode.UNAUTHENTICATED


async def test_a_password_change_ends_the_others_and_renews_the_own(stack: SessionStack) -> None:
    person = await new_person(stack)
    other = await person.login()
    after = await change_password(stack, person.tokens.session, person.password, "another fine phrase 9")
    assert (await in_bucket(stack, other.session)).ended
    own = await in_bucket(stack, person.tokens.session)
    assert not own.ended
    public = KeySet.import_key_set(
        (await stack.rpc.call("session", "jwks", Empty(), JwksReply)).model_dump()  # pyright: ignore[reportArgumentType]  # a JWK set as a plain dictionary
    )
    old = jwt.decode(person.tokens.access_token, public, algorithms=["EdDSA"]).claims
    new = jwt.decode(after.access_token, public, algorithms=["EdDSA"]).claims
    assert (old["epoch"], new["epoch"]) == (own.epoch - 1, own.epoch)
    assert await is_dead(stack, other.refresh_token)
    assert isinstance(await outcome(stack, after.refresh_token), TokensReply)
    with pytest.raises(ProblemError):
        await login(stack, person.username, person.password)


async def test_rotations_within_one_second_stay_apart(stack: SessionStack) -> None:
    """Order is a count, not a time: each rotation of a second is its own, and so is each access token."""
    person = await new_person(stack)
    token, seen = person.tokens.refresh_token, [person.tokens]
    began = time.monotonic()
    while len(seen) < 6:
        reply = await refresh(stack, token)
        token = reply.refresh_token
        seen.append(reply)
    assert time.monotonic() - began < 5
    assert len({one.refresh_token for one in seen}) == len({one.access_token for one in seen}) == 6
    assert await is_dead(stack, seen[1].refresh_token)
    assert await is_dead(stack, token)


async def test_a_kill_by_id_ends_a_persons_session_and_not_an_agents_of_that_form(stack: SessionStack) -> None:
    person = await new_person(stack)
    sid = person.tokens.session
    killed = await stack.rpc.call("session", "kill", SessionRequest(id=sid, actor="key:x", reason="test"), SessionView)
    assert (killed.state, killed.agent_id) == (SessionState.KILLED, f"user:{person.username}")
    assert (killed.killed_by, killed.kill_reason) == ("key:x", "test")
    assert (await in_bucket(stack, sid)).ended
    assert await is_dead(stack, person.tokens.refresh_token)


@pytest.mark.timeout(240)  # the servers are started anew, on what may be a busy machine
async def test_dead_tokens_stay_dead_over_restarts(
    own_nats_server: NatsFixture, session_database: PostgresFixture, stack: SessionStack
) -> None:
    """The service restarts, on a bus that lost everything: the bucket is told again, nothing comes to life."""
    person = await new_person(stack)
    first = person.tokens.refresh_token
    second = (await refresh(stack, first)).refresh_token
    ended = await person.login()
    await stack.rpc.call("session", "logout", PersonSessionRequest(sid=ended.session), PersonSessionRecord)
    await age(stack, person.tokens.session, 31)
    settings = session_settings(own_nats_server, session_database)
    gateway = new_broker(own_nats_server, "gateway")
    await gateway.connect()
    again = replace(stack, nats=own_nats_server, rpc=RpcClient(gateway), settings=settings)
    async with running(build(settings)):
        await _eventually_in_bucket(again, ended.session)
        await _eventually_in_bucket(again, person.tokens.session)
        assert (await in_bucket(again, ended.session)).ended
        assert not (await in_bucket(again, person.tokens.session)).ended
        assert await is_dead(again, ended.refresh_token)
        assert await is_dead(again, first), "rotated away before the restart, and out of grace"
        assert await is_dead(again, second), "its family ended with it"
    await gateway.stop()


async def _eventually_in_bucket(stack: SessionStack, sid: str) -> None:
    deadline = time.monotonic() + BUCKET_WAIT_S
    while True:
        try:
            await in_bucket(stack, sid)
        except Exception:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def test_signing_keys_rotate_and_linger(database: Database) -> None:
    """A key past its age is followed by another; both are published while tokens of the older may live."""
    await _forget_keys(database)
    moment = [utc_now()]
    signer = Signer(database, "a passphrase for tests, and no other", lambda: moment[0])
    await signer.refresh()
    before = {key.kid for key in signer.published().keys}
    moment[0] += timedelta(seconds=KEY_AGE_MAX_S + 1)
    await signer.refresh()
    both = {key.kid for key in signer.published().keys}
    assert before < both
    moment[0] += timedelta(seconds=KEY_LINGER_S + 1)
    await signer.refresh()
    after = {key.kid for key in signer.published().keys}
    assert len(after) == 1
    assert after == both - before
    stranger = Signer(database, "another passphrase than the one above", lambda: moment[0])
    await stranger.refresh()
    assert stranger.published().keys[-1].kid not in after, "a key that cannot be opened is not signed with"
    await _forget_keys(database)


async def _forget_keys(database: Database) -> None:
    async with database.raw() as connection:
        await connection.execute("DELETE FROM session.signing_keys")
