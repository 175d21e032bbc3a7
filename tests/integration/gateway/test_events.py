"""Events in: the three forms, partial batches, repeats, and what lies in the stream afterwards."""

import asyncio
import json
import uuid
from typing import Any

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from support.bus import new_broker
from support.gateway_service import GatewayProcess
from support.servers import NatsFixture

from hookbus.contracts.events import MEDIA_TYPE_BATCH, MEDIA_TYPE_EVENT, Event
from hookbus.platform.bus.connection import jetstream


def short(agent_id: str, **fields: Any) -> dict[str, Any]:
    return {"kind": "notification", "agent_id": agent_id, "data": {"text": "<script>alert('x')</script>"}, **fields}


def cloudevent(agent_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "urn:test",
        "type": "dev.hookbus.notification.v1",
        "subject": agent_id,
        "data": {"n": 1},
        **fields,
    }


def new_agent() -> str:
    return f"agent-{uuid.uuid4().hex[:12]}"


async def stored(server: NatsFixture, stream: str, seq: int) -> Any:
    client = await server.connect("provision")
    try:
        return await JetStreamContext(client).get_msg(stream, seq)
    finally:
        await client.close()


async def test_short_form_is_completed(gateway: GatewayProcess) -> None:
    """A short event becomes a CloudEvent on disk: id, time, source, subject and trace are filled in."""
    agent = new_agent()
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/events", json=short(agent, project="web", session="s-1"))
    assert answer.status_code == 202, answer.text
    [accepted] = answer.json()["accepted"]
    message = await stored(gateway.nats, "HOOKS", accepted["seq"])
    event = Event.model_validate_json(message.data)
    assert event.id == accepted["id"]
    assert uuid.UUID(event.id).version == 7
    assert (event.subject, event.project, event.session) == (agent, "web", "s-1")
    assert event.data == {"text": "<script>alert('x')</script>"}
    assert message.subject == f"hooks.notification.{agent}"
    headers = message.headers
    assert headers["Nats-Msg-Id"] == event.id
    assert headers["content-type"] == MEDIA_TYPE_EVENT
    assert event.traceparent is not None
    assert headers["traceparent"][3:35] == event.traceparent[3:35] == answer.headers["traceparent"][3:35]


async def test_an_event_keeps_its_own_trace(gateway: GatewayProcess) -> None:
    """The hook's traceparent goes on through the bus, whether it came as attribute or as header."""
    trace_id = uuid.uuid4().hex
    traceparent = f"00-{trace_id}-{uuid.uuid4().hex[:16]}-01"
    async with gateway.client("events") as client:
        by_attribute = await client.post("/api/v1/events", json=short(new_agent(), traceparent=traceparent))
        by_header = await client.post("/api/v1/events", json=short(new_agent()), headers={"traceparent": traceparent})
    for answer in (by_attribute, by_header):
        message = await stored(gateway.nats, "HOOKS", answer.json()["accepted"][0]["seq"])
        assert message.headers["traceparent"][3:35] == trace_id
    assert by_header.headers["traceparent"][3:35] == trace_id


async def test_cloudevent_and_batches(gateway: GatewayProcess) -> None:
    """One CloudEvent, a batch of them, and a list of short events are all stored, in order."""
    agent = new_agent()
    async with gateway.client("events") as client:
        one = await client.post(
            "/api/v1/events", content=json.dumps(cloudevent(agent)), headers={"content-type": MEDIA_TYPE_EVENT}
        )
        batch = [cloudevent(agent) for _ in range(30)]
        many = await client.post(
            "/api/v1/events", content=json.dumps(batch), headers={"content-type": MEDIA_TYPE_BATCH}
        )
        shorts = await client.post("/api/v1/events", json=[short(agent) for _ in range(3)])
    assert one.status_code == many.status_code == shorts.status_code == 202
    accepted = many.json()["accepted"]
    assert [entry["id"] for entry in accepted] == [event["id"] for event in batch]
    sequences = [entry["seq"] for entry in accepted]
    assert sequences == list(range(sequences[0], sequences[0] + 30))
    assert len(shorts.json()["accepted"]) == 3


async def test_a_bad_member_does_not_hold_up_its_neighbours(gateway: GatewayProcess) -> None:
    """Rejected members are named by index and code; the rest is stored."""
    agent = new_agent()
    events = [
        short(agent),
        short("agent\n"),
        short(agent, data={"__proto__": {"admin": True}}),
        short(agent, data={"text": "x" * 300_000}),
        "not an event",
        short(agent),
    ]
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/events", json=events)
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert len(body["accepted"]) == 2
    assert [(entry["index"], entry["code"]) for entry in body["rejected"]] == [
        (1, "body_invalid"),
        (2, "input_refused"),
        (3, "too_large"),
        (4, "body_invalid"),
    ]


async def test_a_batch_without_one_good_event_is_422(gateway: GatewayProcess) -> None:
    """202 would promise that something was stored."""
    async with gateway.client("events") as client:
        for events in ([], [short("agent\n"), 7]):
            answer = await client.post("/api/v1/events", json=events)
            assert answer.status_code == 422
            assert answer.json()["code"] == "body_invalid"


async def test_a_repeated_id_is_accepted_again_and_stored_once(gateway: GatewayProcess) -> None:
    """Alone and inside a batch: the answer names the first one's place, and the stream holds one message."""
    agent = new_agent()
    first = cloudevent(agent)
    batch = [cloudevent(agent) for _ in range(20)]
    async with gateway.client("events") as client:

        async def send(body: Any, media_type: str) -> list[dict[str, Any]]:
            answer = await client.post("/api/v1/events", content=json.dumps(body), headers={"content-type": media_type})
            assert answer.status_code == 202, answer.text
            accepted: list[dict[str, Any]] = answer.json()["accepted"]
            return accepted

        [alone] = await send(first, MEDIA_TYPE_EVENT)
        assert await send(first, MEDIA_TYPE_EVENT) == [alone]
        # The server refuses an atomic batch that holds one known id; its new events must be stored all the same.
        mixed = await send([*batch[:10], first, *batch[10:], first], MEDIA_TYPE_BATCH)
        assert mixed[10] == mixed[-1] == alone
        assert await send([*batch, first], MEDIA_TYPE_BATCH) == [*mixed[:10], *mixed[11:-1], alone]
    await _assert_held(gateway.nats, agent, [first["id"], *(event["id"] for event in batch)])


async def _assert_held(server: NatsFixture, agent: str, ids: list[str]) -> None:
    broker = new_broker(server, "provision")
    await broker.connect()
    try:
        js = jetstream(broker)
        info = await js.stream_info("HOOKS", subjects_filter=f"hooks.notification.{agent}")
        assert info.state.subjects == {f"hooks.notification.{agent}": len(ids)}
    finally:
        await broker.stop()


async def test_many_clients_share_the_disk(gateway: GatewayProcess) -> None:
    """300 events sent at once by single requests are all stored, each once."""
    agent = new_agent()
    async with gateway.client("events") as client:
        answers = await asyncio.gather(
            *(client.post("/api/v1/events", json=short(agent, id=f"{agent}-{n}")) for n in range(300))
        )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["accepted"][0]["seq"] for answer in answers}) == 300
    await _assert_held(gateway.nats, agent, [f"{agent}-{n}" for n in range(300)])


async def test_a_refused_input_is_a_security_event(gateway: GatewayProcess) -> None:
    """The session service learns of it by the agent it names."""
    agent = new_agent()
    client = await gateway.nats.connect("provision")
    try:
        js = JetStreamContext(client)
        before = (await js.stream_info("SECURITY")).state.last_seq
        async with gateway.client("events") as http:
            body = json.dumps(short(agent, session="s-9")).replace('"text"', '"__proto__"')
            answer = await http.post("/api/v1/events", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert answer.json()["code"] == "input_refused"
        message: Msg | Any = await js.get_msg("SECURITY", before + 1)
        assert message.subject == "security.input_refused"
        event = Event.model_validate_json(message.data)
        assert (event.subject, event.session) == (agent, "s-9")
    finally:
        await client.close()
