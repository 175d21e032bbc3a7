"""Dead letters on a real bus: what a service gave up is listed, read, put back or dropped, and each is an event."""

import uuid
from collections.abc import Sequence
from typing import Any

from support.bus import last_event, new_broker, started
from support.gateway_service import GatewayProcess
from support.waiting import eventually

from hookbus.contracts import subjects
from hookbus.contracts.problems import ProblemCode
from hookbus.platform.bus.connection import jetstream
from hookbus.platform.bus.consumer import subscribe_batches
from hookbus.platform.bus.delivery import Ack, Delivery, Poison, Verdict
from hookbus.platform.bus.streams import SESSION_HOOKS

WAIT_S = 30.0
REASON = "cannot be stored: Broken"


class Refusing:
    """A session service that gives up what it is told to, until it is mended."""

    def __init__(self) -> None:
        self.mended = False
        self.seen: list[str] = []

    async def handle(self, deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        self.seen += [delivery.event.id for delivery in deliveries if self.mended]
        return [
            Ack() if self.mended or "poison" not in delivery.event.data else Poison(REASON) for delivery in deliveries
        ]


async def dead_letters_of(gateway: GatewayProcess, agent: str) -> list[dict[str, Any]]:
    async with gateway.client() as client:
        found: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            query = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
            page = (await client.get("/api/v1/deadletters", params=query)).json()
            found += [letter for letter in page["deadletters"] if letter.get("agent_id") == agent]
            cursor = page.get("cursor")
            if cursor is None:
                return found


async def publish(gateway: GatewayProcess, agent: str, count: int) -> list[str]:
    events = [{"kind": "notification", "agent_id": agent, "data": {"poison": n}} for n in range(count)]
    async with gateway.client("events") as client:
        answer = await client.post("/api/v1/events", json=events)
    assert answer.status_code == 202, answer.text
    return [accepted["id"] for accepted in answer.json()["accepted"]]


async def test_a_dead_letter_is_listed_shown_requeued_and_dropped(own_gateway: GatewayProcess) -> None:
    """A requeued message reaches the service that had given it up; a dropped one is gone; the log learns of each."""
    gateway, agent, refusing = own_gateway, f"agent-{uuid.uuid4().hex[:12]}", Refusing()
    broker = new_broker(gateway.nats, "session")
    subscribe_batches(broker, SESSION_HOOKS, refusing.handle)
    async with started(broker), gateway.client() as client:
        ids = await publish(gateway, agent, 5)

        async def all_dead() -> bool:
            return len(await dead_letters_of(gateway, agent)) == len(ids)

        await eventually(all_dead, WAIT_S)
        letters = await dead_letters_of(gateway, agent)
        assert [letter["event_id"] for letter in letters] == ids
        assert {letter["service"] for letter in letters} == {"session"}
        assert {letter["reason"] for letter in letters} == {REASON}
        assert {letter["subject"] for letter in letters} == {f"hooks.notification.{agent}"}
        assert "event" not in letters[0]

        seq = letters[0]["seq"]
        shown = (await client.get(f"/api/v1/deadletters/{seq}")).json()
        assert shown["event"]["data"] == {"poison": 0}
        assert await told(gateway, "deadletter_read", seq)

        refusing.mended = True
        done = await client.post(f"/api/v1/deadletters/{seq}/requeue")
        assert done.json()["outcome"] == "requeued"
        await eventually(lambda: ids[0] in refusing.seen, WAIT_S)
        assert await told(gateway, "deadletter_requeued", seq)

        dropped = letters[1]["seq"]
        assert (await client.delete(f"/api/v1/deadletters/{dropped}")).json() == {"seq": dropped, "outcome": "dropped"}
        assert await told(gateway, "deadletter_dropped", dropped)

        assert [letter["event_id"] for letter in await dead_letters_of(gateway, agent)] == ids[2:]
        for gone in (seq, dropped):
            answers = [
                await client.get(f"/api/v1/deadletters/{gone}"),
                await client.post(f"/api/v1/deadletters/{gone}/requeue"),
                await client.delete(f"/api/v1/deadletters/{gone}"),
            ]
            assert [answer.json()["code"] for answer in answers] == [ProblemCode.NOT_FOUND] * 3
        assert ids[1] not in refusing.seen


async def told(gateway: GatewayProcess, code: str, seq: int) -> bool:
    event = await last_event(gateway.nats, subjects.STREAM_SECURITY, subjects.security_subject(code))
    return event is not None and event.data["seq"] == seq and str(event.data["actor"]).startswith("key:")


async def test_what_is_no_event_can_be_looked_at_and_is_not_put_back_elsewhere(gateway: GatewayProcess) -> None:
    """A message of hostile bytes and headers is shown as text; without a stream of events to go to it stays."""
    broker = new_broker(gateway.nats, "budget")
    async with started(broker):
        ack = await jetstream(broker).publish(
            "deadletter.budget",
            b"\xff\x00 not json",
            headers={
                subjects.HEADER_DEADLETTER_SUBJECT: "rpc.session.kill",
                subjects.HEADER_DEADLETTER_STREAM: "HOOKS",
                subjects.HEADER_DEADLETTER_SEQUENCE: "x",
            },
        )
    async with gateway.client() as client:
        shown = await client.get(f"/api/v1/deadletters/{ack.seq}")
        assert shown.status_code == 200, shown.text
        assert (shown.json()["text"], shown.json()["stream_seq"]) == ("\ufffd\x00 not json", 0)
        refused = await client.post(f"/api/v1/deadletters/{ack.seq}/requeue")
        assert (refused.status_code, refused.json()["code"]) == (409, ProblemCode.CONFLICT)
        listed = (await client.get("/api/v1/deadletters?service=budget")).json()["deadletters"]
        assert ack.seq in [letter["seq"] for letter in listed]


async def test_hostile_parameters_and_missing_rights_are_refused(gateway: GatewayProcess) -> None:
    async with gateway.client() as client:
        for query in (
            "cursor=x",
            "cursor=-1",
            "cursor=0",
            "cursor=99999999999999999999",
            "limit=0",
            "service=>",
            "limit=x",
        ):
            assert (await client.get(f"/api/v1/deadletters?{query}")).status_code == 422, query
        for seq in ("0", "x", "-1", "9" * 30):
            assert (await client.get(f"/api/v1/deadletters/{seq}")).status_code == 422, seq
    async with gateway.client("audit") as client:
        for method, path in (("GET", ""), ("GET", "/1"), ("POST", "/1/requeue"), ("DELETE", "/1")):
            answer = await client.request(method, f"/api/v1/deadletters{path}")
            assert answer.status_code == 403, (method, path)
