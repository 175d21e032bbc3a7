"""The embedded stack as the matrix runs it: real processes on real servers, wires in between, a folder to steer by."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import asyncpg
from nats.aio.client import Client

from hookbus.embedded.layout import Layout
from hookbus.embedded.ports import free_ports
from hookbus.embedded.processes import ManagedProcess, ProcessSpec
from hookbus.embedded.state import load
from hookbus.platform.bus.connection import connect_plain
from support.bus import bus_settings_of
from support.fixtures import server_folder
from support.matrix.launcher import PAUSE_FILE
from support.matrix.points import Point, Trigger
from support.matrix.sabotage import Measure
from support.matrix.wires import Link, Target, Wires
from support.stack import STOP_GRACE_S, StackFixture

LAUNCHER = Path(__file__).with_name("launcher.py")
SERVICES = ("gateway", "budget", "session", "audit")
LINKS = (*(f"{service}-nats" for service in SERVICES), *(f"{service}-postgres" for service in SERVICES[1:]))

RESTART_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5.0
POLL_S = 0.1

SETTINGS = {
    # The load is no agent whose behaviour is judged: at 1 nothing is ever done for risk.
    "HOOKBUS_RISK_FLAG": "1",
    "HOOKBUS_RISK_ASK": "1",
    "HOOKBUS_RISK_KILL": "1",
    "HOOKBUS_RISK_TIGHTEN": "1",
    # Revoked credentials are shown again and again on purpose.
    "HOOKBUS_RATE_LIMIT_FAILURES": "1000000/minute",
    "HOOKBUS_TRACE_SAMPLE_RATIO": "0",
}


@dataclass
class Stand:
    """One running stack and all that a fault may take hold of."""

    stack: StackFixture
    wires: Wires
    control: Path
    anchor_file: Path
    """Every checkpoint the log published, kept outside of it."""

    @property
    def url(self) -> str:
        return self.stack.url

    @property
    def headers(self) -> dict[str, str]:
        return self.stack.headers

    def trigger(self, service: str, point: Point) -> Trigger:
        return Trigger(self.control, service, point)

    def pid(self, name: str) -> int:
        return self.stack.pids()[name]

    def start_with(self, service: str, environment: Mapping[str, str] | None) -> None:
        """What the service finds in its environment on top, from its next start on; None: nothing."""
        file = self.control / f"{service}.json"
        if environment is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(json.dumps(environment))

    @contextmanager
    def sabotaged(self, measure: Measure) -> Generator[None]:
        """A mechanism broken within the block."""
        file = self.control / measure
        file.touch()
        try:
            yield
        finally:
            file.unlink()

    async def restart(self, service: str) -> None:
        """SIGTERM, and wait until its successor is ready with all the others."""
        before = self.pid(service)
        os.kill(before, signal.SIGTERM)
        async with asyncio.timeout(RESTART_TIMEOUT_S):
            while self.stack.pids().get(service) in {None, before} or not await self.is_ready():
                await asyncio.sleep(POLL_S)

    async def is_ready(self) -> bool:
        return await asyncio.to_thread(self.stack.is_ready)

    def pause_restarts(self, pause_s: float | None) -> None:
        """Let dead processes wait for their restart; None: as the supervisor has it."""
        file = self.control / PAUSE_FILE
        if pause_s is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(str(pause_s))

    async def superuser(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection that no fault is in the way of; the caller closes it."""
        return await asyncpg.connect(self.stack.postgres_url, timeout=CONNECT_TIMEOUT_S)

    async def bus(self, user: str = "provision") -> Client:
        """A client of the bus past the wires; the caller closes it."""
        settings = bus_settings_of(self.stack, user)
        return await connect_plain(settings.nats_url, settings.nats_user, settings.nats_password.get_secret_value())


BeforeStart: TypeAlias = Callable[[Path, ExitStack], None]
"""Prepares the folder of a stack that does not run yet; what is to be undone goes onto the stack of exits."""


@contextmanager
def standing(*, before: BeforeStart | None = None, links: Iterable[Link] = (), **settings: str) -> Generator[Stand]:
    """A stand for as long as the block runs.

    ``before`` prepares its folder: a small file system, say. ``links`` are further wires, to what ``settings`` name.
    """
    with ExitStack() as held:
        folder = held.enter_context(server_folder())
        root, control, anchor_file = folder / "stack", folder / "control", folder / "anchor.jsonl"
        control.mkdir()
        if before is not None:
            before(root, held)
        layout = Layout(root)
        ports = dict(zip(LINKS, free_ports(len(LINKS)), strict=True))
        own = (Link(name, port, _target(layout, name)) for name, port in ports.items())
        wires = held.enter_context(Wires([*own, *links]))
        plan = {"root": str(root), "control": str(control), "links": ports}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "HOOKBUS_AUDIT_ANCHOR_FILE": str(anchor_file),
            **SETTINGS,
            **settings,
        }
        spec = ProcessSpec(
            "supervisor",
            (sys.executable, "-P", str(LAUNCHER), json.dumps(plan)),
            folder / "supervisor.log",
            environment,
            stop_signal=signal.SIGTERM,
            stop_grace_s=STOP_GRACE_S,
        )
        stack = StackFixture(layout, ManagedProcess(spec))
        held.callback(stack.stop)
        stack.start()
        yield Stand(stack, wires, control, anchor_file)
        wires.mend()


def _target(layout: Layout, link: str) -> Target:
    server = link.rsplit("-", 1)[1]

    def port() -> int | None:
        run = load(layout.run_file)
        return run.ports.get(server) if run is not None else None

    return port
