"""Faults of what lies outside of the stack: the log's witness, the service that knows breached passwords."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from hookbus.audit.witness.keeper import Keeper
from hookbus.embedded.ports import LOOPBACK, free_ports
from support.events import unique
from support.fixtures import server_folder
from support.matrix.recount import Findings
from support.matrix.row import Fault, Scene
from support.matrix.stand import Stand, standing
from support.matrix.wires import Link
from support.range_server import RangeServer
from support.waiting import eventually

WITNESS, BREACHES = "audit-witness", "session-breaches"
NAME = "witness.example/hookbus"
COSIGNED_TIMEOUT_S = 60.0
CHANGED_TIMEOUT_S = 30.0
PASSWORD = "quite another phrase 77"


@contextmanager
def watched_stand() -> Generator[Stand]:
    """A stand whose log has a witness and whose passwords are asked about elsewhere, each behind a wire."""
    with ExitStack() as held:
        folder = held.enter_context(server_folder())
        ranges = held.enter_context(RangeServer({}))
        witness_port, witness_wire, breaches_wire = free_ports(3)
        key = Keeper(folder / "witness", NAME, []).verifier_key.text
        stand = held.enter_context(
            standing(
                links=[
                    Link(WITNESS, witness_wire, lambda: witness_port),
                    Link(BREACHES, breaches_wire, lambda: int(ranges.url.rsplit(":", 1)[1])),
                ],
                HOOKBUS_AUDIT_WITNESSES=json.dumps([f"http://{LOOPBACK}:{witness_wire} {key}"]),
                HOOKBUS_BREACH_CHECK_URL=f"http://{LOOPBACK}:{breaches_wire}",
                HOOKBUS_BREACH_CHECK_CACHE_DIR=str(folder / "ranges"),
            )
        )
        held.enter_context(_witness(stand, folder, witness_port))
        yield stand


@contextmanager
def _witness(stand: Stand, folder: Path, port: int) -> Generator[None]:
    log_key = httpx.get(f"{stand.url}/api/v1/audit/key", headers=stand.headers).json()["verifier_key"]
    arguments = ["--name", NAME, "--folder", str(folder / "witness"), "--log", log_key, "--port", str(port)]
    with (folder / "witness.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hookbus.audit.witness", *arguments], stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Cosigned:
    """How far the witness has come."""

    stand: Stand

    async def size(self) -> int:
        superuser = await self.stand.superuser()
        try:
            size: int = await superuser.fetchval("SELECT coalesce(max(size), 0) FROM audit.cosignatures")
            return size
        finally:
            await superuser.close()

    async def beyond(self, size: int) -> None:
        async def is_beyond() -> bool:
            return await self.size() > size

        await eventually(is_beyond, COSIGNED_TIMEOUT_S)


def witness_away(lasts_s: float) -> Fault:
    """The witness is a black hole: the log goes on without it, and is cosigned again when it is back."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        cosigned = Cosigned(scene.stand)
        await cosigned.beyond(0)
        scene.stand.wires.cut(WITNESS)
        try:
            yield
            scene.notes["entries cosigned before"] = str(await cosigned.size())
        finally:
            scene.stand.wires.mend(WITNESS)

    async def after(scene: Scene, findings: Findings) -> None:
        before = int(scene.notes["entries cosigned before"])
        try:
            await Cosigned(scene.stand).beyond(before)
        except TimeoutError:
            findings.add("I4", f"the witness cosigned nothing after {before} entries once it was back")

    return Fault(f"witness away for {lasts_s:.0f} s", inflict, lasts_s, after=after)


def breach_check_black_hole() -> Fault:
    """The service that knows breached passwords never answers: people choose a password all the same, in bounded
    time."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        scene.stand.wires.cut(BREACHES)
        try:
            began_s = time.monotonic()
            await _choose_password(scene)
            scene.notes["password chosen after"] = f"{time.monotonic() - began_s:.1f} s"
            yield
        finally:
            scene.stand.wires.mend(BREACHES)

    return Fault("breach check a black hole", inflict)


async def _choose_password(scene: Scene) -> None:
    name = unique("chooser").lower()
    async with httpx.AsyncClient(base_url=scene.stand.url, timeout=CHANGED_TIMEOUT_S) as client:
        made = await client.post(
            "/api/v1/users", json={"username": name, "role": "viewer"}, headers=scene.stand.headers
        )
        once = made.json()["one_time_password"]
        login = await client.post("/api/v1/session/login", json={"username": name, "password": once})
        bearer = {"authorization": f"Bearer {login.json()['access_token']}"}
        body = {"current_password": once, "new_password": PASSWORD}
        changed = await client.post("/api/v1/session/password", json=body, headers=bearer)
        assert changed.status_code == 200, changed.text
