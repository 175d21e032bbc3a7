"""Checks and reads while keys are wrapped anew and agents are erased: never a false alarm, nothing refused."""

import asyncio
from typing import Any

import pytest
from support.audit import AuditStack
from support.events import hook_event, unique
from support.waiting import eventually

from hookbus.audit.checking import Finding
from hookbus.audit.repository import leading
from hookbus.audit.requests import checking
from hookbus.contracts import audit as wire

ROTATIONS = 4
WAIT_S = 60.0


async def rotate(stack: AuditStack) -> None:
    await stack.rpc.call(
        "audit", "rotate_wrapping", wire.RotateWrappingRequest(), wire.RotateWrappingReply, timeout_s=30.0
    )


async def test_a_check_during_rotations_and_erasures_finds_nothing(stack: AuditStack):
    agents = [unique("agent") for _ in range(8)]
    await stack.published([hook_event(agent_id=agent) for agent in agents for _ in range(20)])
    checked = read = 0
    over = asyncio.Event()

    async def checks() -> None:
        nonlocal checked
        while not over.is_set():
            verdict = await stack.verify()
            assert verdict.ok, verdict.fault
            checked += 1

    async def reads() -> None:
        nonlocal read
        while not over.is_set():
            reply = await stack.rpc.call(
                "audit", "entries", wire.EntriesRequest(page_items_max=50), wire.EntriesReply, timeout_s=30.0
            )
            assert reply.entries
            read += 1

    async def met_once_more() -> None:
        before = checked, read
        await eventually(lambda: checked > before[0] and read > before[1], WAIT_S)

    async with asyncio.TaskGroup() as group:
        group.create_task(checks())
        group.create_task(reads())
        try:
            for number in range(ROTATIONS):
                await rotate(stack)
                await stack.published([hook_event(agent_id=agent) for agent in agents])
                request = wire.EraseRequest(agent_id=agents[number % len(agents)])
                await stack.rpc.call("audit", "erase", request, wire.EraseReply, timeout_s=30.0)
                # The next one comes once a check and a read have met this one.
                await met_once_more()
        finally:
            over.set()
    assert checked >= ROTATIONS
    assert (await stack.verify()).ok


async def test_a_rotation_in_the_middle_of_a_check_changes_nothing(stack: AuditStack, monkeypatch: pytest.MonkeyPatch):
    await stack.published([hook_event() for _ in range(20)])
    read_state = leading.read_state
    rotated = 0

    async def then_rotate(connection: leading.Connection) -> leading.LogState | None:
        nonlocal rotated
        state = await read_state(connection)
        monkeypatch.setattr(leading, "read_state", read_state)
        await rotate(stack)
        rotated += 1
        return state

    # The check's snapshot is from before the rotation; everything after its first statement comes later.
    monkeypatch.setattr(leading, "read_state", then_rotate)
    verdict = await stack.verify()
    assert (rotated, verdict.ok, verdict.fault) == (1, True, None)


async def test_a_key_handed_over_as_a_check_begins_is_no_forgery(stack: AuditStack, monkeypatch: pytest.MonkeyPatch):
    """What the new key signs since is in the check's snapshot, and not yet among the keys it began with."""
    await stack.published([hook_event() for _ in range(20)])
    await stack.signed()
    check_log = checking.check_log
    faults: list[str] = []

    async def after_a_handover(*place: Any, **means: Any) -> Finding:
        if not faults:
            await stack.rotate_signing()
            await stack.published([hook_event()])
            await stack.signed()
        finding = await check_log(*place, **means)
        faults.append(str(finding.fault))
        return finding

    monkeypatch.setattr(checking, "check_log", after_a_handover)
    verdict = await stack.verify()
    assert (verdict.ok, verdict.fault) == (True, None)
    assert len(faults) == 2
    assert faults[0] != "None"
