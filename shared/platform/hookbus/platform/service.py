"""The life of a service process: settings, logs, telemetry, HTTP for probes, the bus, a drain on SIGTERM."""

import asyncio
import gc
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from hookbus.platform import health, logs
from hookbus.platform.bus.connection import Broker
from hookbus.platform.settings import ServiceSettings
from hookbus.platform.telemetry import Telemetry
from hookbus.platform.websockets import WebSocketProtocol

HTTP_KEEP_ALIVE_S: Final = 75
HTTP_BACKLOG_MAX: Final = 2_048
WEBSOCKET_MESSAGE_BYTES_MAX: Final = 16 * 1024
"""Of one message from a client: a credential fits. A longer one closes the connection (1009) before it is held."""
WEBSOCKET_PING_INTERVAL_S: Final = 20.0
WEBSOCKET_PING_TIMEOUT_S: Final = 20.0
TASK_RESTART_WAIT_S: Final = 1.0
CONNECTION_WATCH_INTERVAL_S: Final = 1.0
CANCEL_AGAIN_S: Final = 1.0

log = structlog.get_logger(__name__)

Hook = Callable[[], Awaitable[None]]
Task = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Service:
    """What one process runs.

    ``on_start`` runs before the first message is taken, ``on_stop`` after the last one is done (in reverse order);
    ``tasks`` run in between and are started again, with a log record, should one of them fail.
    """

    name: str
    broker: Broker
    checks: Sequence[health.Check]
    on_start: Sequence[Hook] = field(default_factory=tuple)
    on_stop: Sequence[Hook] = field(default_factory=tuple)
    tasks: Sequence[Task] = field(default_factory=tuple)


@asynccontextmanager
async def running(service: Service) -> AsyncGenerator[None]:
    """Connected, consuming, and drained at the end of the block."""
    async with AsyncExitStack() as stack:
        for hook in service.on_stop:
            stack.push_async_callback(hook)
        await service.broker.connect()
        stack.push_async_callback(service.broker.stop)
        for hook in service.on_start:
            await hook()
        await service.broker.start()
        tasks = [asyncio.create_task(_keep_running(service.name, task)) for task in service.tasks]
        tasks.append(asyncio.create_task(_end_with_connection(service.broker)))
        stack.push_async_callback(cancel, tasks)
        gc.collect()
        gc.freeze()
        log.info("service started")
        yield
        log.info("service draining")


@asynccontextmanager
async def serving(service: Service) -> AsyncGenerator[None]:
    """:func:`running` beside the block and not before it: for the lifespan of an HTTP application, which then answers
    from its first moment, be it that the bus is away. Whoever cannot start, or fails later, ends the process."""
    stopping = asyncio.Event()
    is_up = False

    async def run_until_stopped() -> None:
        nonlocal is_up
        async with running(service):
            is_up = True
            await stopping.wait()

    task = asyncio.create_task(run_until_stopped(), name=f"{service.name}-running")
    task.add_done_callback(_end_with_failure)
    try:
        yield
    finally:
        stopping.set()
        if not is_up:
            await cancel([task])
        await asyncio.gather(task, return_exceptions=True)


def _end_with_failure(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        log.critical("service failed, ending", error=type(error).__name__, exc_info=error)
        signal.raise_signal(signal.SIGTERM)


async def _keep_running(service: str, task: Task) -> None:
    while True:
        try:
            await task()
        except Exception:
            log.exception("background task failed", service=service, task=getattr(task, "__name__", "task"))
        await asyncio.sleep(TASK_RESTART_WAIT_S)


async def _end_with_connection(broker: Broker) -> None:
    """A connection the client gave up for good (the server refused its credentials, say) never comes back: end the
    process, so that whoever supervises it starts a new one."""
    while not broker.connection.is_closed:  # noqa: ASYNC110 - FastStream owns the callback that would tell
        await asyncio.sleep(CONNECTION_WATCH_INTERVAL_S)
    log.critical("bus connection closed for good, ending")
    signal.raise_signal(signal.SIGTERM)


async def cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End the tasks. Asked more than once: ``asyncio.wait_for`` before Python 3.12 loses a cancellation that meets an
    answer, and a task that runs for ever would then be waited for for ever."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=CANCEL_AGAIN_S)


def run(
    name: str,
    settings: ServiceSettings,
    build: Callable[[], Service],
    application: Callable[[Service], Starlette] | None = None,
    *,
    keep_alive_s: int = HTTP_KEEP_ALIVE_S,
    is_edge: bool = False,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Run one service until SIGTERM or SIGINT.

    Args:
        name: the service's name in logs, traces and metrics.
        settings: checked settings.
        build: wires the service; called once telemetry is up, inside no event loop.
        application: makes the HTTP application; by default only the probes and ``/metrics``. It must run
            :func:`serving` as its lifespan.
        keep_alive_s: how long an idle HTTP connection stays open.
        trusted_proxies: addresses and networks whose forwarding headers say where a request came from; of all others
            they are ignored.
        is_edge: whether callers from outside reach it (see :class:`hookbus.platform.telemetry.Telemetry`).
    """
    logs.configure(name, settings.log_level)
    telemetry = Telemetry(name, settings, is_edge=is_edge)
    try:
        service = build()
        app: ASGIApp = application(service) if application else _probes(service)
        uvicorn.run(
            app,
            host=settings.http_host,
            port=settings.http_port,
            loop="uvloop",
            http="httptools",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            # Said explicitly: uvicorn's own default believes whoever calls from this machine, and the environment.
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            ws=WebSocketProtocol,
            ws_max_size=WEBSOCKET_MESSAGE_BYTES_MAX,
            ws_ping_interval=WEBSOCKET_PING_INTERVAL_S,
            ws_ping_timeout=WEBSOCKET_PING_TIMEOUT_S,
            ws_per_message_deflate=False,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
            backlog=HTTP_BACKLOG_MAX,
        )
    finally:
        telemetry.close()


def _probes(service: Service) -> Starlette:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with serving(service):
            yield

    return Starlette(routes=health.routes(service.checks), lifespan=lifespan)
