"""The whole stack of one data folder: servers, provisioning, services and credentials, in the order they need."""

import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Final

from hookbus.embedded import credentials, nats, postgres, state
from hookbus.embedded.files import generate_password, make_folder, write_secret_file
from hookbus.embedded.layout import Layout
from hookbus.embedded.nats_permissions import PROVISION_USER
from hookbus.embedded.orders import AuditSecretsOrder, JobResult, KeysOrder, Migration, Order, ProvisionOrder
from hookbus.embedded.ports import LOOPBACK, free_ports, is_port_free
from hookbus.embedded.services import (
    BACKEND,
    GATEWAY,
    TRACES,
    ServiceDefinition,
    Surroundings,
    service_unit,
    url_of,
)
from hookbus.embedded.supervisor import StartError, Supervisor, Unit
from hookbus.platform.database.provision import OWNER, service_role

JOB_TIMEOUT_S: Final = 60.0
SERVER_PORTS: Final = ("nats", "nats-monitor", "postgres")
LOG_TAIL_CHARS: Final = 2_000

log = logging.getLogger(__name__)


class Stack:
    """One run of the stack. ``start`` once, ``stop`` once, both in the event loop of the main thread."""

    def __init__(
        self,
        layout: Layout,
        *,
        host: str,
        port: int,
        backend: Sequence[ServiceDefinition] = BACKEND,
        gateway: ServiceDefinition = GATEWAY,
    ) -> None:
        self.layout = layout
        self.url = url_of(host, port)
        self._host = host
        self._port = port
        self._backend = backend
        self._databases = tuple(one for one in (TRACES, *backend) if one.has_database)
        self._gateway = gateway
        self._ports: dict[str, int] = {}
        self._ready = False
        self._supervisor = Supervisor(self._save_state)

    async def start(self) -> None:
        """Bring everything up; returns when the gateway is ready.

        Raises:
            StartError, PostgresError, NoFreePortError, OSError: what stands in the way, alone or in an
                ExceptionGroup. Call ``stop`` then too.
        """
        began = time.monotonic()
        make_folder(self.layout.logs)
        previous = state.load(self.layout.run_file)
        if previous is not None:
            for name in await asyncio.to_thread(state.end_leftovers, previous):
                log.warning("ended %s, which an earlier supervisor left running", name)
        self._ports = _choose_ports([*SERVER_PORTS, TRACES.name, *(one.name for one in self._backend)], previous)
        bus = nats.prepare(
            self.layout.root / "nats",
            self.layout.log_file("nats"),
            self.layout.secrets,
            port=self._ports["nats"],
            monitor_port=self._ports["nats-monitor"],
        )
        postgres_folder = self.layout.root / "postgres"
        if not postgres.has_cluster(postgres_folder):
            await self._create_audit_secrets()
        database = await asyncio.to_thread(
            postgres.prepare,
            postgres_folder,
            self.layout.log_file("postgres"),
            self.layout.secrets,
            port=self._ports["postgres"],
        )
        await self._supervisor.start([_nats_unit(bus), _postgres_unit(database)])
        write_secret_file(self.layout.postgres_url_file, database.url() + "\n")
        role_passwords = {role: generate_password() for role in postgres.ROLES}
        await self._provision(bus, database, role_passwords)

        surroundings = Surroundings(
            layout=self.layout,
            nats_url=bus.url,
            nats_passwords=bus.passwords,
            database_urls={
                one.name: database.role_url(service_role(one.name), role_passwords[service_role(one.name)])
                for one in self._databases
            },
            traces_port=self._ports[TRACES.name],
        )

        def unit(one: ServiceDefinition) -> Unit:
            return service_unit(one, surroundings, host=LOOPBACK, port=self._ports[one.name])

        async with asyncio.TaskGroup() as group:
            # A stage of its own: it stops after the services, whose last spans it takes.
            group.create_task(self._supervisor.start([unit(TRACES)]))
            group.create_task(self._supervisor.start([unit(one) for one in self._backend]))
        await self._create_missing_keys(bus)
        await self._supervisor.start([service_unit(self._gateway, surroundings, host=self._host, port=self._port)])
        credentials.keep_url(self.layout, self.url)
        self._ready = True
        self._save_state()
        log.info("hookbus is up at %s after %.1f s", self.url, time.monotonic() - began)

    async def stop(self) -> None:
        """Stop everything in reverse order. Data stays."""
        self._ready = False
        await self._supervisor.stop()

    async def _create_audit_secrets(self) -> None:
        """At the first start alone, before there is a log: a secret that is lost later must be missed, not replaced."""
        await self._run_job(
            AuditSecretsOrder(
                passphrase_file=self.layout.audit_passphrase_file,
                signing_key_file=self.layout.audit_signing_key_file,
            )
        )

    async def _provision(
        self, bus: nats.NatsServer, database: postgres.PostgresServer, role_passwords: dict[str, str]
    ) -> None:
        await self._run_job(
            ProvisionOrder(
                nats_url=bus.url,
                nats_password=bus.passwords[PROVISION_USER],
                superuser_url=database.url(postgres.MAINTENANCE_DATABASE),
                owner_url=database.role_url(OWNER, role_passwords[OWNER]),
                role_passwords=role_passwords,
                migrations=tuple(Migration(package=one.module, schema_name=one.name) for one in self._databases),
            )
        )

    async def _create_missing_keys(self, bus: nats.NatsServer) -> None:
        missing = credentials.missing_keys(self.layout)
        administrator = credentials.missing_administrator(self.layout)
        if not missing and administrator is None:
            return
        result = await self._run_job(
            KeysOrder(
                nats_url=bus.url,
                nats_password=bus.passwords[PROVISION_USER],
                keys=tuple(missing),
                administrator=administrator,
            )
        )
        for request, api_key in zip(missing, result.api_keys, strict=True):
            credentials.keep_key(self.layout, request, api_key)
        if administrator is not None:
            credentials.keep_one_time_password(self.layout, result.one_time_password)

    async def _run_job(self, order: Order) -> JobResult:
        return await asyncio.to_thread(_run_job, order, self.layout)

    def _save_state(self) -> None:
        """Keep the run file true. It stays after a stop: the next start takes the same ports where it can."""
        own_pid = os.getpid()
        state.save(
            self.layout.run_file,
            state.RunState(
                pid=own_pid,
                started_at=state.start_time_of(own_pid) or time.time(),
                url=self.url,
                host=self._host,
                port=self._port,
                ports=self._ports,
                ready=self._ready,
                processes=tuple(_process_state(unit) for unit in self._supervisor.units),
            ),
        )


def _run_job(order: Order, layout: Layout) -> JobResult:
    log_file = layout.log_file("jobs")
    with log_file.open("wb") as errors:
        try:
            answer = subprocess.run(
                [sys.executable, "-P", "-m", "hookbus.embedded.jobs"],
                input=order.model_dump_json().encode(),
                stdout=subprocess.PIPE,
                stderr=errors,
                check=False,
                timeout=JOB_TIMEOUT_S,
                cwd="/",
            )
        except subprocess.TimeoutExpired as error:
            raise StartError(f"the job {order.action} took over {JOB_TIMEOUT_S} s; its log is {log_file}") from error
    if answer.returncode != 0:
        last = log_file.read_text(encoding="utf-8", errors="replace").rstrip()[-LOG_TAIL_CHARS:]
        raise StartError(f"the job {order.action} failed. The end of {log_file}:\n{last}")
    return JobResult.model_validate_json(answer.stdout)


def _choose_ports(names: Sequence[str], previous: state.RunState | None) -> dict[str, int]:
    """The ports of the last run where they are free, so that addresses kept elsewhere stay true; else new ones."""
    kept: Mapping[str, int] = previous.ports if previous is not None else {}
    ports = {name: kept[name] for name in names if name in kept and is_port_free(LOOPBACK, kept[name])}
    absent = [name for name in names if name not in ports]
    return ports | dict(zip(absent, free_ports(len(absent)), strict=True))


def _nats_unit(server: nats.NatsServer) -> Unit:
    return Unit(
        spec=server.spec(),
        is_ready=server.is_ready,
        probe_host=LOOPBACK,
        probe_port=server.monitor_port,
        probe_path=nats.READY_PATH,
        ready_timeout_s=nats.READY_TIMEOUT_S,
        is_alive=server.is_alive,
    )


def _postgres_unit(server: postgres.PostgresServer) -> Unit:
    return Unit(
        spec=server.spec(),
        is_ready=server.is_ready,
        probe_host=LOOPBACK,
        probe_port=server.port,
        probe_path=None,
        ready_timeout_s=postgres.READY_TIMEOUT_S,
        start_attempts_max=postgres.START_ATTEMPTS_MAX,
        before_start=server.open_ways,
    )


def _process_state(unit: Unit) -> state.ProcessState:
    pid = unit.process.pid
    return state.ProcessState(
        name=unit.name,
        pid=pid,
        started_at=state.start_time_of(pid) if pid is not None else None,
        restarts=unit.restarts,
        probe_host=unit.probe_host,
        probe_port=unit.probe_port,
        probe_path=unit.probe_path,
        stop_signal=int(unit.spec.stop_signal),
    )
