"""Sessions over the real bus: what the gateway sees, and when."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest
from support.bus import new_broker
from support.events import hook_event, unique
from support.servers import NatsFixture
from support.session_service import SessionStack
from support.waiting import eventually

from hookbus.contracts.events import Event, Kind, type_of_security
from hookbus.contracts.gathered import Member
from hookbus.contracts.payloads import Fingerprint
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import (
    AssessManyReply,
    AssessManyRequest,
    AssessReply,
    AssessRequest,
    SessionListReply,
    SessionListRequest,
    SessionRequest,
    SessionState,
    SessionView,
)
from hookbus.contracts.subjects import hook_subject, security_subject
from hookbus.platform.bus.publisher import Publisher

log = logging.getLogger(__name__)

ASSESSES = 500


@pytest.fixture(scope="module")
async def publisher(nats_server: NatsFixture) -> AsyncIterator[Publisher]:
    broker = new_broker(nats_server, "gateway")
    await broker.connect()
    yield Publisher(broker)
    await broker.stop()


async def publish(publisher: Publisher, *events: Event) -> None:
    for event in events:
        kind = event.kind
        code = event.security_code
        subject = hook_subject(kind, event.agent_id) if kind else security_subject(code or "")
        await publisher.publish(event, subject)


async def show(stack: SessionStack, session: str) -> SessionView | None:
    try:
        return await stack.rpc.call("session", "show", SessionRequest(id=session), SessionView)
    except ProblemError as error:
        if error.problem.code is not ProblemCode.NOT_FOUND:
            raise
        return None


async def counted(stack: SessionStack, session: str, events: int) -> SessionView:
    found: SessionView | None = None

    async def there() -> bool:
        nonlocal found
        found = await show(stack, session)
        return found is not None and found.events >= events

    await eventually(there)
    assert found is not None
    return found


async def assess(stack: SessionStack, session: str, **fingerprint: str) -> AssessReply:
    seen = Fingerprint(**fingerprint) if fingerprint else None
    request = AssessRequest(agent_id="agent", session=session, event_id=unique("e"), fingerprint=seen)
    return await stack.rpc.call("session", "assess", request, AssessReply)


async def security_events(stack: SessionStack, code: str, session: str) -> list[Event]:
    """What the stream held of one code about one session, read with a consumer of its own."""
    found: list[Event] = []
    client = await stack.nats.connect("provision")
    try:
        stream = client.jetstream()
        info = await stream.stream_info("SECURITY")
        for seq in range(info.state.first_seq, info.state.last_seq + 1):
            try:
                message = await stream.get_msg("SECURITY", seq)
            except Exception:  # noqa: BLE001 - acknowledged by all and gone
                continue
            event = Event.model_validate_json(message.data or b"")
            if event.security_code == code and event.session == session:
                found.append(event)
    finally:
        await client.close()
    return found


async def test_a_session_lives_dies_and_is_revived(stack: SessionStack, publisher: Publisher) -> None:
    """Opened by its first event; killed, the next assess denies; revived, the next one allows."""
    session = unique("s")
    assert (await assess(stack, session)).decision == "allow"
    start = hook_event(Kind.SESSION_START, session=session, project="p", data={"fingerprint": {"host": "h"}})
    await publish(publisher, start, hook_event(Kind.PROMPT, session=session))
    view = await counted(stack, session, 2)
    assert (view.state, view.project, view.baseline.host) == (SessionState.ACTIVE, "p", "h")

    kill = SessionRequest(id=session, reason="runs in circles", actor="ann")
    killed = await stack.rpc.call("session", "kill", kill, SessionView)
    assert killed.state is SessionState.KILLED
    answer = await assess(stack, session)
    assert (answer.decision, answer.code) == ("deny", "session_terminated")
    assert "runs in circles" in answer.reason
    again = await stack.rpc.call("session", "kill", SessionRequest(id=session, actor="bob"), SessionView)
    assert (again.killed_by, again.killed_at) == ("ann", killed.killed_at)

    await stack.rpc.call("session", "revive", SessionRequest(id=session, actor="ann"), SessionView)
    assert (await assess(stack, session)).decision == "allow"

    # The audit service's durable keeps these on the stream: nobody acknowledges for it here.
    await eventually(lambda: _has(stack, "session_revived", session))
    assert len(await security_events(stack, "session_killed", session)) == 1
    await publish(publisher, hook_event(Kind.SESSION_END, session=session))
    view = await counted(stack, session, 3)
    assert view.state is SessionState.ENDED


async def _has(stack: SessionStack, code: str, session: str) -> bool:
    return bool(await security_events(stack, code, session))


async def test_unknown_sessions_are_not_found(stack: SessionStack) -> None:
    for method in ("show", "kill", "revive"):
        with pytest.raises(ProblemError) as problem:
            await stack.rpc.call("session", method, SessionRequest(id=unique("nobody")), SessionView)
        assert problem.value.problem.code is ProblemCode.NOT_FOUND


async def test_another_host_and_refused_inputs_raise_the_risk(stack: SessionStack, publisher: Publisher) -> None:
    """A fingerprint counts at the very decision it comes with; refused inputs come in from the security stream."""
    session = unique("s")
    home = {"host": "h", "user": "u", "agent_version": "1"}
    await publish(publisher, hook_event(Kind.SESSION_START, session=session, data={"fingerprint": dict(home)}))
    await counted(stack, session, 1)
    moved = await assess(stack, session, host="h2", user="u2")
    assert (moved.decision, moved.code) == ("ask", "session_risk")
    assert "host h became h2" in moved.reason

    refused = [
        Event(
            id=f"{unique('e')}.path_outside_workspace",
            source="gateway",
            type=type_of_security("path_outside_workspace"),
            subject="agent",
            time=hook_event().time,
            session=session,
        )
        for _ in range(3)
    ]
    pre_task = hook_event(session=session, data={"fingerprint": {**home, "host": "h2", "user": "u2"}})
    await publish(publisher, pre_task, *refused, refused[0])
    await eventually(lambda: _denied(stack, session))
    await eventually(lambda: _refused_three_times(stack, session))
    view = await counted(stack, session, 2)
    assert {signal.code: signal.occurrences for signal in view.signals} == {
        "host_change": 1,
        "user_change": 1,
        "refused_inputs": 3,
    }
    assert view.events == 2
    await eventually(lambda: _has(stack, "session_flagged", session))
    assert (view.state, view.killed_by) == (SessionState.KILLED, "hookbus"), "past 0.9 it is killed, not only denied"
    assert (await assess(stack, session)).code == "session_terminated"
    (told,) = await security_events(stack, "session_killed", session)
    assert "h2" in str(told.data["reason"])
    revived = await stack.rpc.call("session", "revive", SessionRequest(id=session, actor="ann"), SessionView)
    assert revived.risk < 0.05
    assert (await assess(stack, session, host="h2", user="u2")).decision == "allow"


async def _refused_three_times(stack: SessionStack, session: str) -> bool:
    view = await show(stack, session)
    return view is not None and any(signal.occurrences == 3 for signal in view.signals)


async def _denied(stack: SessionStack, session: str) -> bool:
    return (await assess(stack, session)).decision == "deny"


async def test_poison_is_buried_and_its_neighbours_pass(stack: SessionStack, publisher: Publisher) -> None:
    session = unique("s")
    bad = hook_event(Kind.TERMINAL_OUTPUT, session=session, data={"text": "names no terminal"})
    await publish(publisher, hook_event(session=session), bad, hook_event(session=session))
    assert (await counted(stack, session, 2)).events == 2
    client = await stack.nats.connect("provision")
    try:

        async def buried() -> bool:
            last = await client.jetstream().get_last_msg("DEADLETTER", "deadletter.session")
            return json.loads(last.data or b"{}").get("id") == bad.id

        await eventually(buried)
    finally:
        await client.close()


async def test_lists_page_newest_first(stack: SessionStack, publisher: Publisher) -> None:
    agent = unique("agent").replace(".", "-")
    names = [unique("s") for _ in range(5)]
    await publish(publisher, *(hook_event(Kind.PROMPT, agent_id=agent, session=name) for name in names))
    for name in names:
        await counted(stack, name, 1)
    kill = SessionRequest(id=names[0], actor="ann")
    await stack.rpc.call("session", "kill", kill, SessionView)
    found: list[str] = []
    cursor = None
    while True:
        request = SessionListRequest(agent_id=agent, cursor=cursor, page_items_max=2)
        reply = await stack.rpc.call("session", "list", request, SessionListReply)
        found += [session.id for session in reply.sessions]
        cursor = reply.cursor
        if cursor is None:
            break
    assert found == list(reversed(names))
    killed = SessionListRequest(agent_id=agent, state=SessionState.KILLED)
    reply = await stack.rpc.call("session", "list", killed, SessionListReply)
    assert [session.id for session in reply.sessions] == [names[0]]
    with pytest.raises(ProblemError) as problem:
        await stack.rpc.call("session", "list", SessionListRequest(cursor="nonsense"), SessionListReply)
    assert problem.value.problem.code is ProblemCode.BODY_INVALID


async def test_many_decisions_at_once_are_all_answered(stack: SessionStack, publisher: Publisher) -> None:
    """A crowd that asks at the same moment shares statements: everybody is answered, nobody times out."""
    session = unique("s")
    await publish(publisher, hook_event(session=session))
    await counted(stack, session, 1)
    answers = await asyncio.gather(*(assess(stack, session) for _ in range(ASSESSES)))
    assert len(answers) == ASSESSES


async def test_sessions_asked_about_together_are_judged_each_for_itself(
    stack: SessionStack, publisher: Publisher
) -> None:
    """Of many in one message the killed one is denied, and its neighbours, known or not, go on."""
    killed, known = unique("s"), unique("s")
    for session in (killed, known):
        await publish(publisher, hook_event(session=session))
        await counted(stack, session, 1)
    await stack.rpc.call("session", "kill", SessionRequest(id=killed, actor="a test", reason="told to"), SessionView)
    asked = [
        Member(request=AssessRequest(agent_id="agent", session=session, event_id=unique("e")))
        for session in (known, killed, unique("s"), None)
    ]
    gathered = AssessManyRequest(members=tuple(asked))
    reply = await stack.rpc.call("session", "assess_many", gathered, AssessManyReply)
    decisions = [one.reply.decision for one in reply.answers if one.reply is not None]
    assert decisions == ["allow", "deny", "allow", "allow"]
