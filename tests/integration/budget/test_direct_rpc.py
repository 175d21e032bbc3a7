"""Requests answered straight from the NATS client: the same replies and problems, and nobody dropped at the end."""

import asyncio
import time

import pytest
from support.bus import new_broker, started
from support.servers import NatsFixture

from hookbus.contracts.budget import Empty, ReleaseReply, ReleaseRequest
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.connection import Broker
from hookbus.platform.bus.rpc import REQUESTS_CONCURRENT_MAX, RpcClient
from hookbus.platform.bus.rpc_direct import DirectRpcServer

WORK_S = 0.05


class Handler:
    """Counts how many requests are worked on at once."""

    def __init__(self) -> None:
        self.running = 0
        self.running_max = 0

    async def release(self, request: ReleaseRequest) -> ReleaseReply:
        if request.reason == "unknown":
            raise ProblemError(ProblemCode.NOT_FOUND, "no such reservation")
        if request.reason == "fault":
            raise RuntimeError("secret detail")
        self.running += 1
        self.running_max = max(self.running_max, self.running)
        await asyncio.sleep(WORK_S)
        self.running -= 1
        return ReleaseReply(released=True)


def request(reason: str = "") -> ReleaseRequest:
    return ReleaseRequest(agent_id="agent", reservation="r", reason=reason)


async def serving(server: Broker) -> Handler:
    """The server's broker is connected by the caller; this subscribes."""
    handler = Handler()
    direct = DirectRpcServer(server, "budget")
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
        for reason, code in (("unknown", ProblemCode.NOT_FOUND), ("fault", ProblemCode.INTERNAL)):
            with pytest.raises(ProblemError) as caught:
                await client.call("budget", "release", request(reason), ReleaseReply)
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
    async with started(server, caller):
        calls = [client.call("budget", "release", request(), ReleaseReply, timeout_s=10) for _ in range(400)]
        begin_s = time.monotonic()
        await asyncio.gather(*calls)
        assert time.monotonic() - begin_s < 400 * WORK_S / 4
    assert handler.running_max == REQUESTS_CONCURRENT_MAX


async def test_requests_under_way_are_answered_when_the_service_stops(own_nats_server: NatsFixture) -> None:
    server, caller = new_broker(own_nats_server, "budget"), new_broker(own_nats_server, "gateway")
    client = RpcClient(caller)
    handler = await serving(server)
    await server.start()
    async with started(caller):
        calls = [asyncio.create_task(client.call("budget", "release", request(), ReleaseReply)) for _ in range(20)]
        async with asyncio.timeout(5):
            while handler.running < 20:
                await asyncio.sleep(0.001)
        await server.stop()
        assert all(reply.released for reply in await asyncio.gather(*calls))
        with pytest.raises(ProblemError) as away:
            await client.call("budget", "release", request(), ReleaseReply)
        assert away.value.problem.code is ProblemCode.UNAVAILABLE
