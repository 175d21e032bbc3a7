"""Calls that gather over the real bus: who travels with whom, and that each member's fate is its own."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
from nats.aio.msg import Msg
from support.bus import new_broker, started
from support.events import unique
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.contracts.budget import ReleaseReply, ReleaseRequest
from hookbus.contracts.fields import WireModel
from hookbus.contracts.gathered import MEMBERS_MAX, Gathered, GatheredReply
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus import rpc_gather
from hookbus.platform.bus.connection import Broker
from hookbus.platform.bus.rpc import RpcClient
from hookbus.platform.bus.rpc_direct import DirectRpcServer
from hookbus.platform.bus.rpc_gather import GatheredCalls

TIMEOUT_S = 10.0
Calls = GatheredCalls[ReleaseRequest, ReleaseReply]


def request(reason: str) -> ReleaseRequest:
    return ReleaseRequest(agent_id="agent", reservation="r", reason=reason)


def calls_of(broker: Broker, service: "Service", timeout_s: float = TIMEOUT_S) -> Calls:
    return GatheredCalls(
        RpcClient(broker),
        "budget",
        service.method,
        gathered_class=Gathered[ReleaseRequest],
        gathered_reply_class=GatheredReply[ReleaseReply],
        reply_class=ReleaseReply,
        timeout_s=timeout_s,
    )


@dataclass
class Service:
    """Answers one request once the gate is open, and many as they come; notes what came together."""

    method: str = field(default_factory=lambda: unique("release"))
    """Its own: what the test before served may still be taking leave of the bus."""
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    alone: list[str] = field(default_factory=list[str])
    together: list[list[str]] = field(default_factory=list[list[str]])

    async def one(self, asked: ReleaseRequest) -> ReleaseReply:
        self.alone.append(asked.reason)
        await self.gate.wait()
        return ReleaseReply(released=asked.reason.endswith("yes"))

    async def many(self, asked: Sequence[ReleaseRequest]) -> Sequence[WireModel | bytes | ProblemError]:
        reasons = [each.reason for each in asked]
        self.together.append(reasons)
        if "hangs" in reasons:
            await self.gate.wait()
        if "fault" in reasons:
            raise RuntimeError("secret detail")
        if "away" in reasons:
            raise ConnectionError("secret detail")
        return [self._answer(reason) for reason in reasons]

    @staticmethod
    def _answer(reason: str) -> WireModel | bytes | ProblemError:
        if reason == "unknown":
            return ProblemError(ProblemCode.NOT_FOUND, "no such reservation")
        if reason == "unfit":
            return b'{"odd":1}'
        return ReleaseReply(released=reason.endswith("yes"))


@asynccontextmanager
async def serving(server: NatsFixture, service: Service, *, many: bool = True) -> AsyncGenerator[Broker]:
    """The service on the bus; the broker of its caller."""
    answering, asking = new_broker(server, "budget"), new_broker(server, "gateway")
    direct = DirectRpcServer(answering, "budget", may_pass=lambda error: isinstance(error, ConnectionError))
    direct.method(service.method, ReleaseRequest, service.one)
    if many:
        direct.method_many(service.method, Gathered[ReleaseRequest], service.many)
    async with started(answering, asking):
        await direct.start()
        for _ in range(2):  # the client's first ping may overtake the subscription that still waits to be written
            await answering.connection.flush()
        yield asking
        service.gate.set()


async def behind(calls: Calls, service: Service, *reasons: str) -> list[asyncio.Task[ReleaseReply]]:
    """One call that is under way, and others that were made meanwhile."""
    first = asyncio.create_task(calls.call(request("first-yes")))
    await eventually(lambda: service.alone == ["first-yes"])
    return [first, *(asyncio.create_task(calls.call(request(reason))) for reason in reasons)]


async def answered_behind(broker: Broker, service: Service, *reasons: str) -> list[ReleaseReply | BaseException]:
    """What came of the call under way and of those made meanwhile, once the gate is open."""
    tasks = await behind(calls_of(broker, service), service, *reasons)
    await asyncio.sleep(0)
    service.gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_asked_meanwhile_travels_together(
    nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lone call goes alone and at once; those made while it is under way are one message, answered by place."""
    monkeypatch.setattr(rpc_gather, "HELD_BACK_S_MAX", TIMEOUT_S)
    service = Service()
    async with serving(nats_server, service) as broker:
        reasons = [f"{number}-{'yes' if number % 3 else 'no'}" for number in range(MEMBERS_MAX)]
        replies = await answered_behind(broker, service, *reasons)
    assert service.together == [reasons]
    released = [True, *(reason.endswith("yes") for reason in reasons)]
    assert replies == [ReleaseReply(released=yes) for yes in released]


async def test_a_members_fate_is_its_own(nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem, and a reply that does not fit, reach the one who asked; the neighbours have their answers."""
    monkeypatch.setattr(rpc_gather, "HELD_BACK_S_MAX", TIMEOUT_S)
    service = Service()
    async with serving(nats_server, service) as broker:
        results = await answered_behind(broker, service, "a-yes", "unknown", "unfit", "b-no")
    assert service.together == [["a-yes", "unknown", "unfit", "b-no"]]
    codes = [one.problem.code if isinstance(one, ProblemError) else one for one in results]
    yes, no = ReleaseReply(released=True), ReleaseReply(released=False)
    assert codes == [yes, yes, ProblemCode.NOT_FOUND, ProblemCode.INTERNAL, no]


async def test_a_handler_that_fails_on_all_is_asked_for_each(
    nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_gather, "HELD_BACK_S_MAX", TIMEOUT_S)
    service = Service()
    async with serving(nats_server, service) as broker:
        _first, fine, fault = await behind(calls_of(broker, service), service, "a-yes", "fault")
        await asyncio.sleep(0)
        service.gate.set()
        assert (await fine).released
        with pytest.raises(ProblemError) as failed:
            await fault
    assert failed.value.problem.code is ProblemCode.INTERNAL
    assert "secret" not in failed.value.problem.detail
    assert service.together == [["a-yes", "fault"], ["a-yes"], ["fault"]]


async def test_a_failure_that_may_pass_puts_off_all_and_nobody_is_asked_for_alone(
    nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc_gather, "HELD_BACK_S_MAX", TIMEOUT_S)
    service = Service()
    async with serving(nats_server, service) as broker:
        _first, *results = await answered_behind(broker, service, "a-yes", "away")
    problems = [one.problem for one in results if isinstance(one, ProblemError)]
    assert [problem.code for problem in problems] == [ProblemCode.UNAVAILABLE] * 2
    assert all(problem.retry_after_s and "secret" not in problem.detail for problem in problems)
    assert service.together == [["a-yes", "away"]]


async def test_a_member_that_does_not_fit_leaves_the_others_be(nats_server: NatsFixture) -> None:
    """The service tells the caller of the one what is wrong with it, and answers the rest."""
    service = Service()
    async with serving(nats_server, service) as broker:
        subject = f"rpc.budget.{service.method}_many"
        body = b'{"members":[{"request":{"agent_id":"a b","reservation":"r"}},{"request":%b}]}'
        fitting = request("b-yes").model_dump_json().encode()
        message: Msg = await broker.connection.request(subject, body % fitting, timeout=TIMEOUT_S)
        unfit, answered = GatheredReply[ReleaseReply].model_validate_json(message.data).answers
        refused: Msg = await broker.connection.request(subject, b'{"members":[]}', timeout=TIMEOUT_S)
    assert unfit.problem is not None
    assert unfit.problem.code is ProblemCode.BODY_INVALID
    assert [error.loc for error in unfit.problem.errors] == ["agent_id"]
    assert answered.reply == ReleaseReply(released=True)
    assert b"body_invalid" in refused.data


async def test_a_service_that_knows_no_many_is_asked_one_by_one(nats_server: NatsFixture) -> None:
    """An older service behind a newer gateway: every caller has its answer."""
    service = Service()
    async with serving(nats_server, service, many=False) as broker:
        tasks = await behind(calls_of(broker, service), service, "a-yes", "b-no")
        await asyncio.sleep(0)
        service.gate.set()
        assert [reply.released for reply in await asyncio.gather(*tasks)] == [True, True, False]
    assert sorted(service.alone) == ["a-yes", "b-no", "first-yes"]


async def test_a_message_without_an_answer_does_not_hold_the_others_back(nats_server: NatsFixture) -> None:
    """While one process of the service hangs, those who ask later are answered."""
    service = Service()
    async with serving(nats_server, service) as broker:
        tasks = await behind(calls_of(broker, service), service, "a-yes", "b-yes")
        assert [reply.released for reply in await asyncio.gather(*tasks[1:])] == [True, True]
        assert not tasks[0].done()
        service.gate.set()
        await tasks[0]
    assert service.together == [["a-yes", "b-yes"]]


async def test_who_gave_up_is_not_asked_for(nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that left before its call was sent is left out."""
    monkeypatch.setattr(rpc_gather, "HELD_BACK_S_MAX", TIMEOUT_S)
    service = Service()
    async with serving(nats_server, service) as broker:
        _first, stays, leaves = await behind(calls_of(broker, service), service, "a-yes", "b-yes")
        await asyncio.sleep(0)
        leaves.cancel()
        with suppress(asyncio.CancelledError):
            await leaves
        service.gate.set()
        assert (await stays).released
        assert service.together == [["a-yes"]]


async def test_who_is_not_answered_in_time_hears_that_the_service_is_away(nats_server: NatsFixture) -> None:
    service = Service()
    async with serving(nats_server, service) as broker:
        tasks = await behind(calls_of(broker, service, timeout_s=0.5), service, "hangs")
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [one.problem.code for one in results if isinstance(one, ProblemError)] == [ProblemCode.UNAVAILABLE] * 2
