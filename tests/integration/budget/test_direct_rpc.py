"""Requests answered straight from the NATS client: the same replies and problems, and nobody dropped at the end."""

import asyncio

import pytest
from support.bus import new_broker, started
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.contracts.budget import Empty, ReleaseReply, ReleaseRequest
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.connection import Broker
from hookbus.platform.bus.rpc import REQUESTS_CONCURRENT_MAX, RpcClient
from hookbus.platform.bus.rpc_direct import DirectRpcServer

WAIT_S = 60.0


class Handler:
    """Counts how many requests are worked on at once; work ends when the gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self.running_max = 0

    async def release(self, request: ReleaseRequest) -> ReleaseReply:
        if request.reason == "unknown":
            raise ProblemError(ProblemCode.NOT_FOUND, "no such reservation")
        if request.reason == "fault":
            raise RuntimeError("secret detail")
        if request.reason == "away":
            raise ConnectionError("secret detail")
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        await self.gate.wait()
        self.running -= 1
        return ReleaseReply(released=True)


def request(reason: str = "") -> ReleaseRequest:
    return ReleaseRequest(agent_id="agent", reservation="r", reason=reason)


async def serving(server: Broker) -> Handler:
    """The server's broker is connected by the caller; this subscribes."""
    handler = Handler()
    direct = DirectRpcServer(server, "budget", may_pass=lambda error: isinstance(error, ConnectionError))
    direct.method("release", ReleaseRequest, handler.release)
    await server.connect()
    await direct.start()
    return handler


async def test_replies_and_problems(own_nats_server: NatsFixture) -> None:
    server, caller = new_broker(own_nats_server, "budget"), new_broker(own_nats_server, "gateway")
    client = RpcClient(caller)
    await serving(server)
    async with started(server, caller):
        assert (await client.call("budget", "release", request(), ReleaseReply)).released
        codes = {
            "unknown": ProblemCode.NOT_FOUND,
            "fault": ProblemCode.INTERNAL,
            "away": ProblemCode.UNAVAILABLE,
        }
        for reason, code in codes.items():
            with pytest.raises(ProblemError) as caught:
                await client.call("budget", "release", request(reason), ReleaseReply, timeout_s=WAIT_S)
            assert caught.value.problem.code is code
            assert "secret" not in caught.value.problem.detail
        with pytest.raises(ProblemError) as invalid:
            await client.call("budget", "release", Empty(), ReleaseReply)
        assert invalid.value.problem.code is ProblemCode.BODY_INVALID
        assert {error.loc for error in invalid.value.problem.errors} == {"agent_id", "reservation"}


async def test_many_at_once_and_no_more_than_the_bound(own_nats_server: NatsFixture) -> None:
    server, caller = new_broker(own_nats_server, "budget"), new_broker(own_nats_server, "gateway")
    client = RpcClient(caller)
    handler = await serving(server)
    handler.gate.clear()
    async with started(server, caller):
        calls = [
            asyncio.create_task(client.call("budget", "release", request(), ReleaseReply, timeout_s=WAIT_S))
            for _ in range(REQUESTS_CONCURRENT_MAX + 144)
        ]
        await eventually(lambda: handler.running == REQUESTS_CONCURRENT_MAX, WAIT_S)
        handler.gate.set()
        await asyncio.gather(*calls)
    assert handler.running_max == REQUESTS_CONCURRENT_MAX


async def test_requests_under_way_are_answered_when_the_service_stops(own_nats_server: NatsFixture) -> None:
    server, caller = new_broker(own_nats_server, "budget"), new_broker(own_nats_server, "gateway")
    client = RpcClient(caller)
    handler = await serving(server)
    handler.gate.clear()
    await server.start()
    async with started(caller):
        calls = [
            asyncio.create_task(client.call("budget", "release", request(), ReleaseReply, timeout_s=WAIT_S))
            for _ in range(20)
        ]
        await eventually(lambda: handler.running == 20, WAIT_S)
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        handler.gate.set()
        await stopping
        assert all(reply.released for reply in await asyncio.gather(*calls))
        with pytest.raises(ProblemError) as away:
            await client.call("budget", "release", request(), ReleaseReply)
        assert away.value.problem.code is ProblemCode.UNAVAILABLE
