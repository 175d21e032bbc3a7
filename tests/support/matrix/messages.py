"""Faults of what travels: events that come twice, out of order, or cannot be processed at all."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from nats.errors import Error as NatsError
from nats.js.errors import APIError

from hookbus.contracts import subjects
from support.events import hook_event, unique
from support.matrix.book import Decided
from support.matrix.load import DECIDE, EVENTS
from support.matrix.recount import Findings
from support.matrix.row import Fault, Scene

WINDOW_S = 0.1
"""The shortest window in which the server takes a repeated message for a duplicate."""
PAST_WINDOW_S = 0.5
FORGOTTEN_WITHIN_S = 30.0
SESSIONS = 5
EVENTS_PER_SESSION = 12
MEGABYTE = 1024 * 1024
NESTING = 20_000


def duplicates_beyond_the_window() -> Fault:
    """Clients send again what was accepted, after the broker has forgotten it: the stream holds it twice."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        client = await scene.stand.bus()
        stream = client.jetstream()
        info = await stream.stream_info(subjects.STREAM_HOOKS)
        window_s = info.config.duplicate_window
        try:
            await stream.update_stream(info.config, duplicate_window=WINDOW_S)
            told = list(scene.load.book.accepted.values())
            await asyncio.sleep(PAST_WINDOW_S)
            before = (await stream.stream_info(subjects.STREAM_HOOKS)).state.last_seq
            for event in told:
                async with asyncio.timeout(FORGOTTEN_WITHIN_S):
                    # The server forgets an id by a timer of its own, which a busy machine delays.
                    while await _stored(scene, event) <= before:
                        await asyncio.sleep(PAST_WINDOW_S)
            assert told
            scene.notes["stored again"] = str(len(told))
            yield
        finally:
            await stream.update_stream(info.config, duplicate_window=window_s)
            await client.close()

    return Fault("duplicates beyond the broker's window", inflict)


def out_of_order() -> Fault:
    """Sessions whose events arrive shuffled, the end before the start, and usage before the decision it belongs to."""
    ended: dict[str, bool] = {}

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        book, randomness = scene.load.book, scene.randomness
        began = datetime.now(UTC) - timedelta(minutes=5)
        agent = f"{book.tag}-spender-0"
        events: list[dict[str, object]] = []
        for _ in range(SESSIONS):
            session = unique(f"{book.tag}-shuffled")
            ended[session] = randomness.random() < 0.5
            end = EVENTS_PER_SESSION - 1 if ended[session] else EVENTS_PER_SESSION // 2
            for number in range(EVENTS_PER_SESSION):
                kind = "session-start" if number == 0 else "session-end" if number == end else "notification"
                time = (began + timedelta(seconds=number)).isoformat()
                event = {"kind": kind, "id": unique("load"), "agent_id": agent, "session": session, "time": time}
                events.append({**event, "data": {}})
        randomness.shuffle(events)
        for event in events:
            await _send(scene, event)
        for _ in range(SESSIONS):
            await _used_before_decided(scene, agent)
        yield

    async def after(scene: Scene, findings: Findings) -> None:
        superuser = await scene.stand.superuser()
        try:
            rows = await superuser.fetch("SELECT id, state FROM session.sessions WHERE id = ANY($1)", list(ended))
        finally:
            await superuser.close()
        states = {row["id"]: row["state"] == "ended" for row in rows}
        wrong = [name for name, is_ended in ended.items() if states.get(name) != is_ended]
        findings.some("I3", "sessions are ended, or not, by the order of arrival", wrong)

    return Fault("events out of order", inflict, after=after)


async def _stored(scene: Scene, event: dict[str, object]) -> int:
    """The event's place in the stream; of one that the server takes for a duplicate, the first one's."""
    answer = await scene.load.door.ask("POST", EVENTS, event)
    assert answer is not None
    return int(answer.json()["accepted"][0]["seq"])


async def _send(scene: Scene, event: dict[str, object]) -> None:
    await _stored(scene, event)
    scene.load.book.accepted[str(event["id"])] = event
    if "session" in event:
        scene.load.book.sessions[str(event["session"])].add(str(event["id"]))


async def _used_before_decided(scene: Scene, agent: str) -> None:
    operation = unique("operation")
    data = {"operation_id": operation, "tokens_used": scene.randomness.randint(1, 50), "cost": "0.000001"}
    await _send(scene, {"kind": "post-task", "id": unique("load"), "agent_id": agent, "data": data})
    event_id = unique("load")
    pre_task = {"kind": "pre-task", "id": event_id, "agent_id": agent, "data": {"operation_id": operation}}
    answer = await scene.load.door.ask("POST", DECIDE, pre_task)
    assert answer is not None
    told = answer.json()
    decided = Decided(event_id, agent, told["decision"], told["code"], told.get("reservation"))
    scene.load.book.decided[event_id] = decided


def poison() -> Fault:
    """Messages that no service can process, put onto the bus past the gateway, among good ones."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        book = scene.load.book
        client = await scene.stand.bus("gateway")
        stream = client.jetstream()
        good = hook_event(agent_id=f"{book.tag}-poisoner")
        wire = json.loads(good.to_wire())
        bodies = {
            "not JSON": b"{",
            "no text": b"\xff\xfe\x00",
            "bad schema": json.dumps({**wire, "time": "yesterday"}).encode(),
            "no event": b"[]",
            "nested deeply": b'{"data":' + b"[" * NESTING + b"]" * NESTING + b"}",
            "bad agent": json.dumps({**wire, "subject": "agent\n"}).encode(),
        }
        try:
            for why, body in bodies.items():
                headers = {subjects.HEADER_MSG_ID: unique("poison")}
                stored = await stream.publish("hooks.usage.poisoner", body, headers=headers)
                book.poison[str(stored.seq)] = why
            try:
                await stream.publish("hooks.usage.poisoner", b"x" * MEGABYTE)
            except (APIError, NatsError) as error:
                scene.notes["1 MB"] = f"refused by the bus: {getattr(error, 'description', None) or error}"
            else:
                raise AssertionError("the bus took a message of 1 MB")
            await _send(scene, {"kind": "notification", "id": unique("load"), "agent_id": "neighbour", "data": {}})
            yield
        finally:
            await client.close()

    return Fault("poison on the bus", inflict)
