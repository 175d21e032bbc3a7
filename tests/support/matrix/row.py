"""One row of the matrix: load, a fault in the midst of it, the wait until all is whole again, the recount."""

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass, field

from nats.errors import Error as NatsError

from hookbus.contracts import subjects
from support.matrix.auditor import Auditor
from support.matrix.credentials import Revoker
from support.matrix.load import PATHS, Load
from support.matrix.recount import Findings, last_deadletter, recount
from support.matrix.stand import Stand
from support.stack import WHOLE_AGAIN_WITHIN_S
from support.waiting import slower

SEED_VARIABLE = "HOOKBUS_FAULT_SEED"
WHOLE_TIMEOUT_S = 200.0
POLL_S = 0.1


@dataclass
class Scene:
    """What a fault finds: a stack under load."""

    stand: Stand
    load: Load
    randomness: random.Random
    ended_at_s: float = 0.0
    """When the fault was over, by the monotonic clock; a death is over when it happened."""
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """Figures of this fault's own."""

    def over(self) -> None:
        """The fault is over at this moment."""
        self.ended_at_s = time.monotonic()


@dataclass(frozen=True)
class Fault:
    """A named way to break the stack: entered under load, left when it is mended."""

    name: str
    inflict: Callable[[Scene], AbstractAsyncContextManager[None]]
    lasts_s: float = 0.0
    whole_within_s: float = WHOLE_AGAIN_WITHIN_S
    """From its end on. I6 says 15 s for one dead process; other faults have bounds of their own."""
    after: Callable[[Scene, Findings], Awaitable[None]] | None = None
    """What is to be recounted of this fault alone."""


@dataclass(frozen=True)
class Figures:
    """What one row saw."""

    fault: str
    seed: str
    duration_s: float
    events: int
    decisions: int
    settlements: int
    retries: int
    revocations: int
    longest_outage_s: float
    whole_after_s: float
    checkpoints: int
    log_entries: int
    machine_load: float
    """Processes that want to run, for each core."""
    notes: dict[str, str]

    def as_json(self) -> str:
        return json.dumps(asdict(self))


def fault_seed() -> str:
    """The seed of this whole run: set by the environment, or made up once by ``conftest.py`` and printed."""
    return os.environ[SEED_VARIABLE]


async def play(stand: Stand, fault: Fault) -> tuple[Figures, Findings]:
    """One row. Never raises for a broken invariant: that is in the findings."""
    seed = f"{fault_seed()}/{fault.name}"
    randomness = random.Random(seed)
    began_s = time.monotonic()
    async with (
        Auditor(stand.url, stand.headers, stand.anchor_file) as auditor,
        Load(stand.url, stand.headers, randomness) as load,
        Revoker(load.door, randomness),
    ):
        load.book.deadletters_before = await last_deadletter(stand)
        await load.flowing()
        scene = Scene(stand, load, randomness)
        async with fault.inflict(scene):
            await asyncio.sleep(fault.lasts_s)
        if not scene.ended_at_s:
            scene.over()
        whole_after_s = await whole(scene)
        await load.flowing()
    within_s = fault.whole_within_s * slower()
    findings = await recount(stand, load.book, auditor)
    if fault.after is not None:
        await fault.after(scene, findings)
    if whole_after_s > within_s:
        findings.add("I6", f"whole again after {whole_after_s:.1f} s, not within {within_s:.0f} s")
    book = load.book
    figures = Figures(
        fault=fault.name,
        seed=fault_seed(),
        duration_s=round(time.monotonic() - began_s, 1),
        events=len(book.accepted),
        decisions=len(book.decided),
        settlements=len(book.settled),
        retries=book.later.total(),
        revocations=book.revoked,
        longest_outage_s=round(book.longest_outage_s(PATHS), 1),
        whole_after_s=round(whole_after_s, 1),
        checkpoints=len(auditor.heads),
        log_entries=max((head.size for head in auditor.heads), default=0),
        machine_load=round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
        notes=scene.notes,
    )
    return figures, findings


async def whole(scene: Scene) -> float:
    """Seconds from the fault's end until every process is ready, every path answers what was asked since, and every
    service has taken all that was accepted before. :data:`WHOLE_TIMEOUT_S` where that never came."""
    accepted_before = scene.load.book.sequence
    gives_up_at_s = time.monotonic() + WHOLE_TIMEOUT_S
    while time.monotonic() < gives_up_at_s:
        if (
            scene.load.flows_since(scene.ended_at_s)
            and await scene.stand.is_ready()
            and await taken(scene.stand, accepted_before)
        ):
            return time.monotonic() - scene.ended_at_s
        await asyncio.sleep(POLL_S)
    return WHOLE_TIMEOUT_S


async def taken(stand: Stand, sequence: int) -> bool:
    """Whether every service has acknowledged all hook events up to this place on the bus."""
    with suppress(OSError, NatsError, TimeoutError):
        client = await stand.bus()
        try:
            consumers = await client.jetstream().consumers_info(subjects.STREAM_HOOKS)
        finally:
            await client.close()
        return all(info.ack_floor is not None and info.ack_floor.stream_seq >= sequence for info in consumers)
    return False
