"""Checks while the log moves: they never cry wolf, they say how far they are, and each depth finds what it can."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from support.audit import WAIT_S, AuditStack
from support.events import hook_event, unique
from support.faults import sized

from hookbus.audit import checking
from hookbus.contracts import audit as wire
from hookbus.contracts.audit import VerifyDepth
from hookbus.contracts.problems import ProblemError

CHECKS = sized(8, 100)
"""Of each depth, all under load."""
TEST_TIMEOUT_S = 600


async def verify(stack: AuditStack, depth: VerifyDepth, watch: str | None = None) -> wire.VerifyReply:
    request = wire.VerifyRequest(depth=depth, watch=watch)
    return await stack.rpc.call("audit", "verify", request, wire.VerifyReply, timeout_s=60.0)


class Bustle:
    """Everything that changes a log, at once and again and again."""

    def __init__(self, stack: AuditStack) -> None:
        self._stack = stack
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.agents = [unique("agent") for _ in range(6)]
        self.done: Counter[str] = Counter()

    def start(self) -> None:
        acts = {"append": self.append, "erase": self.erase, "hand over": self.hand_over, "wrap": self.wrap_anew}
        self._tasks = [asyncio.create_task(self._repeat(name, act)) for name, act in acts.items()]

    async def stop(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)

    async def _repeat(self, name: str, act: Callable[[], Awaitable[object]]) -> None:
        while not self._over.is_set():
            # An erasure or a rotation that meets another is told to come again.
            with suppress(ProblemError):
                await act()
                self.done[name] += 1
            await asyncio.sleep(0.01)

    @property
    def each_done(self) -> bool:
        return len(self.done) == len(self._tasks)

    async def append(self) -> None:
        await self._stack.publish([hook_event(agent_id=agent) for agent in self.agents])

    async def erase(self) -> None:
        agent = self.agents[self.done["erase"] % len(self.agents)]
        request = wire.EraseRequest(agent_id=agent, actor="test")
        await self._stack.rpc.call("audit", "erase", request, wire.EraseReply, timeout_s=WAIT_S)

    async def hand_over(self) -> None:
        request = wire.RotateRequest()
        await self._stack.rpc.call("audit", "rotate_signing", request, wire.RotateSigningReply, timeout_s=WAIT_S)
        await asyncio.sleep(0.3)

    async def wrap_anew(self) -> None:
        request = wire.RotateRequest()
        await self._stack.rpc.call("audit", "rotate_wrapping", request, wire.RotateWrappingReply, timeout_s=WAIT_S)
        await asyncio.sleep(0.5)


@pytest.mark.timeout(TEST_TIMEOUT_S)
@pytest.mark.parametrize("processes", [False, True], ids=["alone", "in several processes"])
async def test_no_check_raises_a_false_alarm(stack: AuditStack, monkeypatch: pytest.MonkeyPatch, *, processes: bool):
    """Appends, erasures, handovers and new passphrases go on all the while; checks begin at any moment of them."""
    if processes:
        monkeypatch.setattr(checking, "PARALLEL_ENTRIES_MIN", 0)
    bustle = Bustle(stack)
    await stack.published([hook_event(agent_id=agent) for agent in bustle.agents for _ in range(60)])
    await stack.signed()
    bustle.start()
    found: list[wire.VerifyReply] = []
    rounds = max(2, CHECKS // 4) if processes else CHECKS
    try:
        # However fast the checks are: each kind of change happens among them.
        while len(found) < rounds * len(VerifyDepth) or not bustle.each_done:
            found += [await verify(stack, depth) for depth in VerifyDepth]
    finally:
        await bustle.stop()
    assert [reply.fault for reply in found if not reply.ok] == []
    assert found[-1].size > found[0].size
    # The control: the same check of the same log finds one bit.
    await stack.superuser.execute(
        "UPDATE audit.stored_events SET record = set_byte(record, 90, get_byte(record, 90) # 1) WHERE index = 100"
    )
    for depth in (VerifyDepth.LEAVES, VerifyDepth.ALL):
        reply = await verify(stack, depth)
        assert (reply.ok, reply.first_bad_index) == (False, 100)


async def test_each_depth_finds_what_it_looks_at(stack: AuditStack):
    """Checkpoints alone read no entry; a stored hash that leads elsewhere they do find."""
    await stack.published([hook_event() for _ in range(600)])
    signed = await stack.signed()
    for depth in VerifyDepth:
        reply = await verify(stack, depth)
        assert (reply.ok, reply.checked) == (True, reply.size)
    await stack.superuser.execute(
        "UPDATE audit.stored_events SET record = set_byte(record, 90, get_byte(record, 90) # 1) WHERE index = 100"
    )
    assert (await verify(stack, VerifyDepth.CHECKPOINTS)).ok
    assert not (await verify(stack, VerifyDepth.LEAVES)).ok
    await stack.superuser.execute(
        "UPDATE audit.tiles SET hashes = set_byte(hashes, 32, get_byte(hashes, 32) # 1) WHERE level = 0 AND number = 1"
    )
    reply = await verify(stack, VerifyDepth.CHECKPOINTS)
    assert not reply.ok
    assert reply.first_bad_index is not None
    assert reply.first_bad_index <= 257
    await stack.superuser.execute("DELETE FROM audit.tiles WHERE level = 0 AND number = 0")
    reply = await verify(stack, VerifyDepth.CHECKPOINTS)
    assert (reply.ok, reply.first_bad_index) == (False, 0)
    assert signed.size > 600


async def test_checkpoints_alone_show_a_log_taken_back(stack: AuditStack):
    """The last leaf hashes lie in rows, not yet in a tile: those that are gone are missed too."""
    await stack.published([hook_event() for _ in range(20)])
    signed = await stack.signed()
    assert (await verify(stack, VerifyDepth.CHECKPOINTS)).ok
    await stack.superuser.execute("DELETE FROM audit.stored_events WHERE index = $1", signed.size - 1)
    reply = await verify(stack, VerifyDepth.CHECKPOINTS)
    assert (reply.ok, reply.first_bad_index) == (False, signed.size - 1)


async def test_a_check_says_how_far_it_is_to_whoever_knows_its_word(stack: AuditStack, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(checking, "STRETCH_ENTRIES", 256)
    await stack.published([hook_event() for _ in range(1_000)])
    seen: list[wire.VerifyProgressReply] = []

    async def progress(watch: str) -> wire.VerifyProgressReply:
        request = wire.VerifyProgressRequest(watch=watch)
        return await stack.rpc.call("audit", "verify_progress", request, wire.VerifyProgressReply)

    over = asyncio.Event()

    async def watch_it() -> None:
        while not over.is_set():
            seen.append(await progress("mine"))

    # Each check is over in a moment; among several one is met half way.
    watching = asyncio.create_task(watch_it())
    try:
        async with asyncio.timeout(WAIT_S):
            while not any(0 < reply.checked < reply.size for reply in seen):
                assert (await verify(stack, VerifyDepth.LEAVES, "mine")).ok
    finally:
        over.set()
        await watching
    assert await progress("another") == wire.VerifyProgressReply(checked=0, size=0)
    assert await progress("mine") == wire.VerifyProgressReply(checked=0, size=0)
