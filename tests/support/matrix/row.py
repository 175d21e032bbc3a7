"""One row of the matrix: load, a fault in the midst of it, the wait until all is whole again, the recount."""

import asyncio
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass, field

import asyncpg

from support.matrix.auditor import Auditor
from support.matrix.book import Book
from support.matrix.credentials import Revoker
from support.matrix.load import PATHS, Load
from support.matrix.recount import Findings, recount
from support.matrix.stand import Stand

SEED_VARIABLE = "HOOKBUS_FAULT_SEED"
WHOLE_WITHIN_S = 15.0
"""I6: after the death of any single process."""
WHOLE_TIMEOUT_S = 120.0
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
    whole_within_s: float = WHOLE_WITHIN_S
    """From its end on. I6 says 15 s for one dead process; of other faults it is what they were seen to take, doubled."""
    after: Callable[[Scene], Awaitable[None]] | None = None
    """More to see to once the load has stopped, before the recount."""


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
        await load.flowing()
        scene = Scene(stand, load, randomness)
        async with fault.inflict(scene):
            await asyncio.sleep(fault.lasts_s)
        if not scene.ended_at_s:
            scene.over()
        whole_after_s = await whole(scene)
        await load.flowing()
    if fault.after is not None:
        await fault.after(scene)
    findings = await recount(stand, load.book, auditor)
    if whole_after_s > fault.whole_within_s:
        findings.add("I6", f"whole again after {whole_after_s:.1f} s, not within {fault.whole_within_s:.0f} s")
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
        notes=scene.notes,
    )
    return figures, findings


async def whole(scene: Scene) -> float:
    """Seconds from the fault's end until every process is ready, every path answers what was asked since, and all that
    was accepted before has been taken by every service. :data:`WHOLE_TIMEOUT_S` where that never came."""
    accepted = dict(scene.load.book.accepted)
    gives_up_at_s = time.monotonic() + WHOLE_TIMEOUT_S
    while time.monotonic() < gives_up_at_s:
        if (
            scene.load.flows_since(scene.ended_at_s)
            and await scene.stand.is_ready()
            and await taken(scene.stand, scene.load.book, list(accepted))
        ):
            return time.monotonic() - scene.ended_at_s
        await asyncio.sleep(POLL_S)
    return WHOLE_TIMEOUT_S


async def taken(stand: Stand, book: Book, ids: list[str]) -> bool:
    """Whether budget, session and audit have each taken these events."""
    usage = [name for name in ids if book.accepted[name]["kind"] == "usage"]
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        superuser = await stand.superuser()
        try:
            logged = await superuser.fetchval(
                "SELECT count(*) FROM audit.entry_lookup WHERE stream = 1 AND event_id = ANY($1)", ids
            )
            charged = await superuser.fetchval(
                "SELECT count(DISTINCT dedupe_key) FROM budget.budget_history WHERE dedupe_key = ANY($1)",
                [f"event:{name}" for name in usage],
            )
            counted = await superuser.fetchval(
                "SELECT count(*) FROM session.counted_events WHERE event_id = ANY($1)", ids
            )
        finally:
            await superuser.close()
        return (logged, charged, counted) == (len(ids), len(usage), len(ids))
    return False
