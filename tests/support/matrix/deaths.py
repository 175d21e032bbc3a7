"""Faults that kill: a process at a named point of its work, a server, all at once, one after the other in order."""

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import psutil

from support.alive import alive
from support.matrix.points import Order, Point
from support.matrix.row import Fault, Scene
from support.matrix.stand import SERVICES

REACHED_TIMEOUT_S = 60.0
POLL_S = 0.005
REACHED_MAX = 5
"""A point is passed up to so many times before the one that kills."""
WAKE_POLL_S = 0.05
ROLLING_WHOLE_WITHIN_S = 30.0
ALL_WHOLE_WITHIN_S = 60.0
"""Every server recovers and every service starts, on a machine that does all of it at once."""


def killed_at(victim: str, service: str, point: Point) -> Fault:
    """SIGKILL to ``victim`` at the moment ``service`` reaches ``point``; often the two are the same."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        pid = scene.stand.pid(victim)
        trigger = scene.stand.trigger(service, point)
        trigger.arm(Order(scene.randomness.randint(1, REACHED_MAX), None if victim == service else pid))
        try:
            async with asyncio.timeout(REACHED_TIMEOUT_S):
                while alive(pid):
                    await asyncio.sleep(POLL_S)
        finally:
            trigger.disarm()
        scene.over()
        yield

    where = point.replace("_", " ")
    name = f"{victim} killed {where}" if victim == service else f"{victim} killed {where} of {service}"
    return Fault(name, inflict)


def killed(victim: str) -> Fault:
    """SIGKILL to a process that passes no point of its own."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        scene.stand.stack.kill(victim)
        scene.over()
        yield

    return Fault(f"{victim} killed", inflict)


def signer_killed() -> Fault:
    """SIGKILL to the process that signs the log's checkpoints, a child of the audit service."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        for child in psutil.Process(scene.stand.pid("audit")).children():
            if "hookbus.audit.signing" in child.cmdline():
                child.kill()
        scene.over()
        yield

    return Fault("signer killed", inflict)


def all_killed(*victims: str) -> Fault:
    """SIGKILL to several processes at the same moment."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        for pid in [scene.stand.pid(victim) for victim in victims]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        scene.over()
        yield

    return Fault(f"{', '.join(victims)} killed at once", inflict, whole_within_s=ALL_WHOLE_WITHIN_S)


def rolling_restart() -> Fault:
    """SIGTERM to every service, one after the other, each once the one before it is ready again."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        for service in scene.randomness.sample(SERVICES, len(SERVICES)):
            await scene.stand.restart(service)
        yield

    return Fault("rolling restart", inflict, whole_within_s=ROLLING_WHOLE_WITHIN_S)
