"""People's clients over the real bus and database: what is noted, what is asked, what ends, and who is told."""

import ipaddress
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from support.bus import new_broker, stored_events
from support.people import TIMEOUT_S, Person, new_person
from support.servers import NatsFixture, PostgresFixture
from support.session_service import SessionStack, session_settings
from support.waiting import eventually

from hookbus.contracts.people import (
    ClientFacts,
    ConfirmRequest,
    LoginRequest,
    PersonSeenRequest,
    PersonSessionRecord,
    PersonSessionRequest,
    RefreshRequest,
    TokensReply,
)
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import (
    SessionKind,
    SessionListReply,
    SessionListRequest,
    SessionRequest,
    SessionState,
    SessionView,
)
from hookbus.contracts.subjects import BUCKET_REVOCATIONS
from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.service import running
from hookbus.session.app import build

HEADERS = ("user-agent", "accept", "accept-language", "accept-encoding", "connection")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:{0}) Gecko/20100101 Firefox/{0}"
HOME = ClientFacts(address="192.0.2.10", user_agent=FIREFOX.format("140.0"), header_names=HEADERS)
CAFE = ClientFacts(address="198.51.100.7", user_agent=FIREFOX.format("141.0"), header_names=(*HEADERS, "sec-gpc"))
THIEF = ClientFacts(address="203.0.113.66", user_agent="curl/8.5.0", header_names=("user-agent", "accept"))


async def login(person: Person, client: ClientFacts = HOME) -> TokensReply:
    request = LoginRequest(username=person.username, password=person.password, client=client)
    return await person.stack.rpc.call("session", "login", request, TokensReply, timeout_s=TIMEOUT_S)


async def refresh(stack: SessionStack, token: str, client: ClientFacts) -> TokensReply:
    request = RefreshRequest(refresh_token=token, client=client)
    return await stack.rpc.call("session", "refresh", request, TokensReply, timeout_s=TIMEOUT_S)


async def seen(stack: SessionStack, sid: str, client: ClientFacts) -> PersonSessionRecord:
    request = PersonSeenRequest(sid=sid, client=client)
    return await stack.rpc.call("session", "person_seen", request, PersonSessionRecord, timeout_s=TIMEOUT_S)


async def confirm(person: Person, sid: str, client: ClientFacts, password: str | None = None) -> TokensReply:
    request = ConfirmRequest(sid=sid, password=password or person.password, client=client)
    return await person.stack.rpc.call("session", "confirm", request, TokensReply, timeout_s=TIMEOUT_S)


async def show(stack: SessionStack, sid: str) -> SessionView:
    return await stack.rpc.call("session", "show", SessionRequest(id=sid), SessionView, timeout_s=TIMEOUT_S)


async def refused(stack: SessionStack, token: str, client: ClientFacts) -> ProblemCode:
    with pytest.raises(ProblemError) as caught:
        await refresh(stack, token, client)
    return caught.value.problem.code


async def in_bucket(stack: SessionStack, sid: str) -> PersonSessionRecord:
    client = await stack.nats.connect("gateway")
    try:
        bucket = await client.jetstream().key_value(BUCKET_REVOCATIONS)
        return PersonSessionRecord.model_validate_json((await bucket.get(sid)).value or b"")
    finally:
        await client.close()


async def told(stack: SessionStack, code: str, sid: str) -> list[dict[str, Any]]:
    """The data of the security events of one code about one session, as the bus has them."""
    return [
        event.data
        for subject, event in await stored_events(stack.nats, "SECURITY")
        if subject == f"security.{code}" and event.data.get("person_session") == sid
    ]


async def assessed(stack: SessionStack, sid: str) -> list[tuple[str, float]]:
    async with stack.database.raw() as connection:
        rows = await connection.fetch(
            "SELECT level, risk FROM session.risk_assessments WHERE session_id = $1 ORDER BY id", sid
        )
    return [(row["level"], row["risk"]) for row in rows]


async def test_another_network_and_an_upgrade_are_noted_and_ask_nothing(stack: SessionStack) -> None:
    """Each assessment is stored, on the bus, and told in words with what it adds."""
    person = await new_person(stack)
    opened = await login(person)
    moved = await refresh(stack, opened.refresh_token, CAFE)
    back = await refresh(stack, moved.refresh_token, HOME)
    assert back.session == opened.session
    view = await show(stack, opened.session)
    assert {signal.code for signal in view.signals} == {"network_change", "headers_change"}
    assert 0.01 < view.risk < 0.2
    assert sum(signal.contribution for signal in view.signals) > 0
    words = " ".join(signal.words for signal in view.signals)
    assert "192.0.2.10 became 198.51.100.7" in words
    assert "sec-gpc" in words
    ((level, value),) = await assessed(stack, opened.session)
    assert (level, round(value, 4)) == ("none", view.risk)

    async def on_the_bus() -> bool:
        return [data["risk"] for data in await told(stack, "risk_assessed", opened.session)] == [view.risk]

    await eventually(on_the_bus)
    assert (await show(stack, person.tokens.session)).signals == (), "each session is compared with its own login"


async def test_another_client_elsewhere_must_give_the_password_and_older_tokens_die(stack: SessionStack) -> None:
    person = await new_person(stack)
    opened = await login(person)
    record = await seen(stack, opened.session, THIEF)
    assert record.confirm_required
    assert not record.ended
    assert (await in_bucket(stack, opened.session)).confirm_required, "before the answer, for every gateway"
    for client in (THIEF, HOME):
        assert await refused(stack, opened.refresh_token, client) is ProblemCode.CONFIRM_REQUIRED
    with pytest.raises(ProblemError) as wrong:
        await confirm(person, opened.session, THIEF, "not the password at all")
    assert wrong.value.problem.code is ProblemCode.UNAUTHENTICATED
    assert (await in_bucket(stack, opened.session)).confirm_required
    again = await confirm(person, opened.session, HOME)
    after = await in_bucket(stack, opened.session)
    assert not after.confirm_required
    assert after.epoch > record.epoch, "an access token from before is of an older epoch"
    view = await show(stack, opened.session)
    assert view.risk < 0.02
    assert all(signal.cleared_at for signal in view.signals)
    assert (await refresh(stack, again.refresh_token, HOME)).session == opened.session
    assert (await seen(stack, opened.session, THIEF)).confirm_required, "the owner did not vouch for the thief"


async def test_a_password_change_answers_for_its_client_too(stack: SessionStack) -> None:
    from support.people import change_password  # noqa: PLC0415 - used here alone

    person = await new_person(stack)
    opened = await login(person)
    assert (await seen(stack, opened.session, THIEF)).confirm_required
    await change_password(stack, opened.session, person.password, f"another long {uuid.uuid4().hex}")
    assert not (await in_bucket(stack, opened.session)).confirm_required


async def test_a_token_that_comes_again_is_evidence_and_ends_the_session(stack: SessionStack) -> None:
    person = await new_person(stack)
    opened = await login(person)
    second = await refresh(stack, opened.refresh_token, HOME)
    await refresh(stack, second.refresh_token, HOME)
    assert await refused(stack, opened.refresh_token, THIEF) is ProblemCode.UNAUTHENTICATED
    view = await show(stack, opened.session)
    assert (view.state, view.killed_by) == (SessionState.KILLED, "hookbus/session")
    assert "token_reuse" in {signal.code for signal in view.signals}
    assert view.risk >= 0.9
    assert (await assessed(stack, opened.session))[-1][0] == "kill"


async def test_failures_before_a_login_are_noted(stack: SessionStack) -> None:
    person = await new_person(stack)
    for _ in range(3):
        with pytest.raises(ProblemError):
            await stack.rpc.call(
                "session",
                "login",
                LoginRequest(username=person.username, password="nonsense as a password", client=THIEF),
                TokensReply,
                timeout_s=TIMEOUT_S,
            )
    opened = await login(person)
    (signal,) = (await show(stack, opened.session)).signals
    assert (signal.code, signal.evidence) == ("login_failures", "3 in a row")
    assert (await refresh(stack, opened.refresh_token, HOME)).session == opened.session


async def test_an_administrator_vouches_for_a_live_session_and_not_for_an_ended_one(stack: SessionStack) -> None:
    person = await new_person(stack)
    opened = await login(person)
    assert (await seen(stack, opened.session, THIEF)).confirm_required
    revive = SessionRequest(id=opened.session, actor="key:x", reason="it was me")
    revived = await stack.rpc.call("session", "revive", revive, SessionView, timeout_s=TIMEOUT_S)
    assert (revived.state, revived.confirm_required) == (SessionState.ACTIVE, False)
    assert not (await seen(stack, opened.session, CAFE)).confirm_required, "the next client is the one to compare with"
    await stack.rpc.call("session", "logout", PersonSessionRequest(sid=opened.session), PersonSessionRecord)
    with pytest.raises(ProblemError) as ended:
        await stack.rpc.call("session", "revive", revive, SessionView, timeout_s=TIMEOUT_S)
    assert ended.value.problem.code is ProblemCode.CONFLICT
    assert await refused(stack, opened.refresh_token, HOME) is ProblemCode.UNAUTHENTICATED


async def test_sessions_of_people_and_agents_are_listed_together(stack: SessionStack) -> None:
    person = await new_person(stack)
    opened = await login(person)
    await stack.rpc.call("session", "logout", PersonSessionRequest(sid=person.tokens.session), PersonSessionRecord)
    kill = SessionRequest(id=(await login(person)).session, actor="key:x")
    await stack.rpc.call("session", "kill", kill, SessionView, timeout_s=TIMEOUT_S)

    async def listed(**wanted: Any) -> dict[str, SessionView]:
        found: dict[str, SessionView] = {}
        cursor = None
        while True:
            request = SessionListRequest(cursor=cursor, page_items_max=3, **wanted)
            reply = await stack.rpc.call("session", "list", request, SessionListReply, timeout_s=TIMEOUT_S)
            assert not set(found) & {one.id for one in reply.sessions}, "no session on two pages"
            found |= {one.id: one for one in reply.sessions}
            cursor = reply.cursor
            if cursor is None:
                return found

    own = await listed(username=person.username)
    assert {one.state for one in own.values()} == {SessionState.ACTIVE, SessionState.ENDED, SessionState.KILLED}
    assert {(one.kind, one.agent_id) for one in own.values()} == {(SessionKind.PERSON, f"user:{person.username}")}
    assert set(await listed(username=person.username, state=SessionState.ACTIVE)) == {opened.session}
    assert set(await listed(username=person.username, state=SessionState.KILLED)) == {kill.id}
    assert await listed(username=person.username, risk_min=0.5) == {}
    assert await listed(username=person.username, kind=SessionKind.AGENT) == {}
    everybody = await listed()
    assert set(own) <= set(everybody)
    seen_at = [one.last_seen_at for one in everybody.values()]
    assert seen_at == sorted(seen_at, reverse=True)
    await seen(stack, opened.session, THIEF)
    assert set(await listed(username=person.username, risk_min=0.5)) == {opened.session}


@asynccontextmanager
async def located(
    nats: NatsFixture, database: PostgresFixture, stack: SessionStack, folder: Path
) -> AsyncGenerator[SessionStack]:
    """A service that knows where three networks are."""
    writer = MMDBWriter(ip_version=6, database_type="Test-City", ipv4_compatible=True)
    for network, name, latitude, longitude in (
        ("192.0.2.0/24", "Berlin", 52.52, 13.40),
        ("198.51.100.0/24", "Potsdam", 52.40, 13.06),
        ("203.0.113.0/24", "Sydney", -33.87, 151.21),
    ):
        assert ipaddress.ip_network(network)
        writer.insert_network(
            IPSet([network]),
            {"city": {"names": {"en": name}}, "location": {"latitude": latitude, "longitude": longitude}},
        )
    file = folder / "places.mmdb"
    writer.to_db_file(str(file))
    settings = session_settings(nats, database).model_copy(update={"geoip_file": file})
    gateway = new_broker(nats, "gateway")
    await gateway.connect()
    try:
        async with running(build(settings)):
            yield replace(stack, nats=nats, rpc=RpcClient(gateway), settings=settings)
    finally:
        await gateway.stop()


async def test_an_impossible_journey_in_another_client_ends_the_session(
    own_nats_server: NatsFixture, session_database: PostgresFixture, stack: SessionStack, tmp_path: Path
) -> None:
    async with located(own_nats_server, session_database, stack, tmp_path) as there:
        person = replace(await new_person(stack), stack=there)
        opened = await login(person)
        assert not (await seen(there, opened.session, CAFE)).confirm_required
        tunnel = HOME.model_copy(update={"address": "203.0.113.5"})
        record = await seen(there, opened.session, tunnel)
        assert not record.ended, "the same browser through a tunnel: noted, at most"
        record = await seen(there, opened.session, THIEF)
        assert record.ended
        assert (await in_bucket(there, opened.session)).ended
        assert await refused(there, opened.refresh_token, HOME) is ProblemCode.UNAUTHENTICATED
        view = await show(there, opened.session)
        assert (view.state, view.killed_by) == (SessionState.KILLED, "hookbus/session")
        assert "to Sydney" in str(view.kill_reason)

        async def on_the_bus() -> bool:
            return any(
                "Sydney" in str(data["reason"]) for data in await told(there, "person_session_ended", opened.session)
            )

        await eventually(on_the_bus)
        elsewhere = await login(person, THIEF)
        codes = {signal.code for signal in (await show(there, elsewhere.session)).signals}
        assert codes == set(), "where the last session was is no surprise"
        at_home = await login(person, HOME)
        codes = {signal.code for signal in (await show(there, at_home.session)).signals}
        assert codes == {"impossible_travel"}, "a login is compared with where the person was last"


async def test_a_geoip_file_that_cannot_be_read_stops_the_start(
    nats_server: NatsFixture, session_database: PostgresFixture, tmp_path: Path
) -> None:
    (tmp_path / "broken.mmdb").write_bytes(b"no database")
    for name in ("broken.mmdb", "absent.mmdb"):
        settings = session_settings(nats_server, session_database).model_copy(update={"geoip_file": tmp_path / name})
        with pytest.raises(Exception, match=r"database|file"):
            build(settings)
