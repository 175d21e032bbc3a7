"""Starts the embedded stack as ``hookbus up`` does, with the services' connections led through the wires.

Run as ``python -P launcher.py PLAN``, the plan as JSON: see :class:`support.matrix.stand.Plan`.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from hookbus.embedded import commands, services, stack, supervisor
from hookbus.embedded.ports import LOOPBACK
from hookbus.embedded.services import ServiceDefinition, Surroundings
from hookbus.embedded.supervisor import Backoff, Unit

PROCESS = Path(__file__).with_name("process.py")
PAUSE_FILE = "restart_pause_s"


def through_wires(plan: dict[str, Any]) -> None:
    """Give each service the addresses of its links, and start it by ``process.py``."""
    unit_of = services.service_unit
    links: dict[str, int] = plan["links"]

    def wired(definition: ServiceDefinition, surroundings: Surroundings, *, host: str, port: int) -> Unit:
        bus = links.get(f"{definition.name}-nats")
        if bus is not None:
            surroundings = replace(surroundings, nats_url=f"nats://{LOOPBACK}:{bus}")
        database = links.get(f"{definition.name}-postgres")
        if database is not None:
            url = make_url(surroundings.database_urls[definition.name]).set(host=LOOPBACK, port=database)
            text = url.render_as_string(hide_password=False)
            surroundings = replace(surroundings, database_urls={**surroundings.database_urls, definition.name: text})
        unit = unit_of(definition, surroundings, host=host, port=port)
        argv = (sys.executable, "-P", str(PROCESS), definition.module, definition.name, plan["control"])
        unit.spec = replace(unit.spec, argv=argv)
        unit.process.spec = unit.spec
        return unit

    stack.service_unit = wired


def paused_restarts(control: Path) -> None:
    """Where the control folder says so, let a dead process wait for its restart."""
    next_s = Backoff.next_s

    def paused(self: Backoff, uptime_s: float) -> float:
        file = control / PAUSE_FILE
        return float(file.read_text()) if file.exists() else next_s(self, uptime_s)

    supervisor.Backoff.next_s = paused


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    through_wires(given)
    paused_restarts(Path(given["control"]))
    sys.exit(commands.up(Path(given["root"]), port=int(os.environ.get("HOOKBUS_TEST_PORT", "0"))))
