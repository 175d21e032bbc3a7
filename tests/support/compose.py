"""The system in containers, started as users start it: ``docker compose up --wait`` under a project name of its own."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest

ROOT = Path(__file__).parents[2]
MAIN_FILE = "docker-compose.yml"
TLS_FILE = "deploy/compose/tls.yml"
CLUSTER_FILE = "deploy/compose/cluster.yml"
VERSION = "0.1.0"
OWN_IMAGES = tuple(f"hookbus/{name}:{VERSION}" for name in ("gateway", "budget", "session", "audit", "jobs"))
BASE_IMAGES = ("nats:2.15-alpine", "postgres:18-bookworm")
ENGINE_TIMEOUT_S = 10
COMMAND_TIMEOUT_S = 120
UP_TIMEOUT_S = 400
"""A first start: three services and their migrations, on a machine with other things to do."""
BUILD_TIMEOUT_S = 3_600
ASKED = os.environ.get("HOOKBUS_CONTAINERS")
BUILD = ASKED == "build"
FULL = ASKED in {"build", "full"}
CONTRACT_MODULES = (
    "test_audit_auditor",
    "test_budget_reports",
    "test_command_line",
    "test_gemini_usage",
    "test_hook_to_log",
    "test_mcp",
    "test_people_risk",
    "test_traces",
)
"""Modules of ``tests/e2e`` whose tests ask over HTTP and the command line alone, but for those named beside them."""


class ComposeError(Exception):
    """A command failed; the text is what it said."""


def docker(*arguments: str, timeout_s: float = COMMAND_TIMEOUT_S, check: bool = True) -> str:
    """What a docker command prints.

    Raises:
        ComposeError: it failed, and ``check`` is set.
    """
    done = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=timeout_s, check=False, cwd=ROOT
    )
    if check and done.returncode != 0:
        raise ComposeError(f"docker {' '.join(arguments)}: {done.stderr[-4_000:]}")
    return done.stdout


@cache
def why_not() -> str | None:
    """Why nothing can be tested in containers here; None where it can. Builds the images if it was asked to."""
    if shutil.which("docker") is None:
        return "no docker command"
    try:
        docker("version", "--format", "{{.Server.Version}}", timeout_s=ENGINE_TIMEOUT_S)
    except (ComposeError, subprocess.TimeoutExpired):
        return "no Docker engine answers"
    try:
        docker("compose", "version", timeout_s=ENGINE_TIMEOUT_S)
    except ComposeError:
        return "docker has no compose plugin (version 2.24.4 or newer)"
    absent = [image for image in (*OWN_IMAGES, *BASE_IMAGES) if not docker("image", "ls", "--quiet", image)]
    if absent and BUILD:
        subprocess.run(["deploy/airgap/build.sh"], cwd=ROOT, check=True, timeout=BUILD_TIMEOUT_S)
        return None
    return f"images absent ({', '.join(absent)}): run deploy/airgap/build.sh" if absent else None


def needs_containers(*, full: bool = False) -> None:
    """Skip where containers cannot be tested, or where minutes of them were not asked for."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    if full and not FULL:
        pytest.skip("minutes of containers: `make containers` runs them")


def free_ports(count: int) -> int:
    """The first of ``count`` ports in a row that are free on loopback."""
    for _ in range(100):
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
        try:
            for number in range(port, port + count):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise ComposeError("no ports are free")


@dataclass
class ComposeStack:
    """A project of containers. Its public face is that of ``StackFixture``, as far as a test from outside needs it."""

    files: tuple[str, ...]
    ports: tuple[int, ...]
    folder: Path
    project: str = field(default_factory=lambda: f"hookbus-test-{secrets.token_hex(4)}")

    @classmethod
    def launch(cls, *overlays: str, gateways: int = 1) -> Self:
        """A running stack on empty volumes.

        Raises:
            ComposeError: it did not come up; the text holds the logs' ends. Nothing of it is left.
        """
        first = free_ports(gateways)
        ports = tuple(range(first, first + gateways))
        stack = cls((MAIN_FILE, *overlays), ports, Path(tempfile.mkdtemp(prefix="hookbus-compose-")))
        try:
            stack.up()
            stack.write_client_settings()
        except BaseException:
            stack.remove()
            raise
        return stack

    def compose(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """What ``docker compose`` of this project prints.

        Raises:
            ComposeError: it failed.
        """
        done = subprocess.run(
            ["docker", "compose", *(word for file in self.files for word in ("--file", file)), *arguments],
            cwd=ROOT,
            env=self._settings(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise ComposeError(f"docker compose {' '.join(arguments)}: {done.stderr[-4_000:]}")
        return done.stdout

    def _settings(self) -> dict[str, str]:
        published = f"{self.ports[0]}" if len(self.ports) == 1 else f"{self.ports[0]}-{self.ports[-1]}"
        return os.environ | {
            "COMPOSE_PROJECT_NAME": self.project,
            "HOOKBUS_PUBLISH": f"127.0.0.1:{published}",
            "HOOKBUS_GATEWAY_URL": self.url,
        }

    def up(self, *services: str) -> None:
        """``up --wait``: return once every service is healthy and every job done."""
        try:
            self.compose("up", "--detach", "--wait", "--no-build", *services, timeout_s=UP_TIMEOUT_S)
        except ComposeError as error:
            logs = self.compose("logs", "--tail", "30", "--no-color")
            raise ComposeError(f"{error}\n{logs[-12_000:]}") from error

    def down(self) -> None:
        """Stop and remove the containers; volumes stay."""
        self.compose("down", "--timeout", "30", timeout_s=UP_TIMEOUT_S)

    def remove(self) -> None:
        """Containers, networks and volumes are gone."""
        self.compose("down", "--volumes", "--timeout", "5", "--remove-orphans", timeout_s=UP_TIMEOUT_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_client_settings(self) -> None:
        """What a person does after the first start: the credentials into the client's settings on the host."""
        shown = self.compose("run", "--rm", "--no-deps", "credentials", "show")
        client = shown[shown.index("}\n") + 2 :]
        (self.folder / "client.toml").write_text(client)

    @property
    def url(self) -> str:
        """The first gateway's published address."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def urls(self) -> list[str]:
        """Every gateway's."""
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def wait_ready(self) -> bool:
        """Wait until every container is healthy again."""
        self.up()
        return True

    @property
    def api_key(self) -> str:
        """The local client's key: every scope."""
        return str(tomllib.loads((self.folder / "client.toml").read_text())["api_key"])

    @property
    def headers(self) -> dict[str, str]:
        """What an HTTP client needs to be let in."""
        return {"Authorization": f"Bearer {self.api_key}"}

    @property
    def environment(self) -> dict[str, str]:
        """For ``hookbus`` as a subprocess on the host."""
        return {"PATH": os.environ["PATH"], "HOOKBUS_DATA_DIR": str(self.folder)}

    def containers(self, service: str) -> list[str]:
        """The ids of a service's containers, stopped ones too, the oldest name first."""
        lines = self.compose("ps", "--all", "--format", "json", service).splitlines()
        rows = sorted((json.loads(line) for line in lines if line), key=lambda row: row["Name"])
        return [row["ID"] for row in rows]

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of a service's first container."""
        facts: list[dict[str, Any]] = json.loads(docker("inspect", self.containers(service)[0]))
        return facts[0]

    def python(self, service: str, code: str) -> str:
        """What a piece of Python prints inside a service's first container: as its user, on its networks."""
        return docker("exec", self.containers(service)[0], "python", "-P", "-c", code)

    def sql(self, statement: str) -> list[list[str]]:
        """The rows of a statement as the superuser sees them, over the server's own socket."""
        printed = docker(
            "exec", "--user", "postgres", self.containers("postgres")[0],
            *("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--field-separator", "\t"),
            *("--set", "ON_ERROR_STOP=1", "--host", "/var/run/postgresql", "--username", "postgres"),
            *("--dbname", "hookbus", "--command", statement),
        )  # fmt: skip
        return [line.split("\t") for line in printed.splitlines()]

    def addresses(self, service: str) -> list[str]:
        """Of a service's first container, on each of its networks."""
        networks = self.inspect(service)["NetworkSettings"]["Networks"]
        return [one["IPAddress"] for one in networks.values() if one["IPAddress"]]


def is_healthy(container: str) -> bool:
    """Whether a container's own health check says so."""
    return docker("inspect", "--format", "{{.State.Health.Status}}", container).strip() == "healthy"


@contextmanager
def composed(*overlays: str, gateways: int = 1) -> Generator[ComposeStack]:
    """A running stack within the block; nothing of it is left after."""
    stack = ComposeStack.launch(*overlays, gateways=gateways)
    try:
        yield stack
    finally:
        stack.remove()
