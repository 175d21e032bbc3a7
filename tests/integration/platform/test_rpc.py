"""Requests over the real bus: typed replies, typed problems, and a prompt answer when nobody is there."""

import asyncio
import time

import pytest
from support.bus import new_broker, started
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.contracts.budget import Empty, ReleaseReply, ReleaseRequest
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.bus.rpc import RpcClient, RpcServer

CALLS = 100
WORK_S = 0.05


async def release(request: ReleaseRequest) -> ReleaseReply:
    if request.reason == "unknown":
        raise ProblemError(ProblemCode.NOT_FOUND, "no such reservation")
    if request.reason == "fault":
        raise RuntimeError("secret detail")
    if request.reason == "away":
        raise ConnectionError("secret detail")
    await asyncio.sleep(WORK_S)
    return ReleaseReply(released=True)


def request(reason: str = "") -> ReleaseRequest:
    return ReleaseRequest(agent_id="agent", reservation="r", reason=reason)


async def test_replies_problems_and_absence(nats_server: NatsFixture) -> None:
    """A reply comes back typed; a problem keeps its code; a fault hides its detail; an absent service is named."""
    server = new_broker(nats_server, "budget")
    client_broker = new_broker(nats_server, "gateway")
    RpcServer(server, "budget").method("release", ReleaseRequest, release)
    client = RpcClient(client_broker)
    async with started(server, client_broker):
        assert (await client.call("budget", "release", request(), ReleaseReply)).released

        with pytest.raises(ProblemError) as known:
            await client.call("budget", "release", request("unknown"), ReleaseReply)
        assert known.value.problem.code is ProblemCode.NOT_FOUND

        with pytest.raises(ProblemError) as fault:
            await client.call("budget", "release", request("fault"), ReleaseReply)
        assert fault.value.problem.code is ProblemCode.INTERNAL
        assert "secret" not in fault.value.problem.detail

        with pytest.raises(ProblemError) as invalid:
            await client.call("budget", "release", Empty(), ReleaseReply)
        assert invalid.value.problem.code is ProblemCode.BODY_INVALID
        assert {error.loc for error in invalid.value.problem.errors} == {"agent_id", "reservation"}

        with pytest.raises(ProblemError) as absent:
            await client.call("session", "list", Empty(), Empty)
        assert absent.value.problem.code is ProblemCode.UNAVAILABLE
        assert "session" in absent.value.problem.detail


async def test_a_failure_that_may_pass_says_come_again(nats_server: NatsFixture) -> None:
    """What a service knows as an absence of its database is unavailable, and when to come again."""
    server, client_broker = new_broker(nats_server, "budget"), new_broker(nats_server, "gateway")
    RpcServer(server, "budget", may_pass=lambda error: isinstance(error, ConnectionError)).method(
        "release", ReleaseRequest, release
    )
    client = RpcClient(client_broker)
    async with started(server, client_broker):
        with pytest.raises(ProblemError) as away:
            await client.call("budget", "release", request("away"), ReleaseReply)
        assert away.value.problem.code is ProblemCode.UNAVAILABLE
        assert away.value.problem.retry_after_s is not None
        assert "secret" not in away.value.problem.detail
        with pytest.raises(ProblemError) as fault:
            await client.call("budget", "release", request("fault"), ReleaseReply)
        assert fault.value.problem.code is ProblemCode.INTERNAL


async def test_requests_of_one_method_are_worked_on_together(nats_server: NatsFixture) -> None:
    """A hundred calls that each take 50 ms end long before they would one after the other."""
    server = new_broker(nats_server, "budget")
    client_broker = new_broker(nats_server, "gateway")
    RpcServer(server, "budget").method("release", ReleaseRequest, release)
    client = RpcClient(client_broker)
    async with started(server, client_broker):
        begin_s = time.monotonic()
        await asyncio.gather(*(client.call("budget", "release", request(), ReleaseReply) for _ in range(CALLS)))
        assert time.monotonic() - begin_s < CALLS * WORK_S / 2


async def test_a_call_while_the_bus_is_away_fails_at_once(own_nats_server: NatsFixture) -> None:
    """With nats-server killed the caller hears "unavailable" without waiting out a timeout."""
    broker = new_broker(own_nats_server, "gateway")
    client = RpcClient(broker)
    async with started(broker):
        own_nats_server.kill()
        await eventually(lambda: not broker.connection.is_connected)
        begin_s = time.monotonic()
        with pytest.raises(ProblemError) as away:
            await client.call("budget", "release", request(), ReleaseReply, timeout_s=30)
        assert away.value.problem.code is ProblemCode.UNAVAILABLE
        assert away.value.problem.retry_after_s is not None
        assert time.monotonic() - begin_s < 15
        own_nats_server.start()
