"""The supervisor process: holds the data folder, runs the stack until it is told to stop."""

import asyncio
import logging
import logging.handlers
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from hookbus.embedded.files import make_folder
from hookbus.embedded.layout import Layout
from hookbus.embedded.ports import LOOPBACK, NoFreePortError, free_port, is_port_free
from hookbus.embedded.postgres import PostgresError
from hookbus.embedded.services import local_host
from hookbus.embedded.spooled import replay_spool
from hookbus.embedded.stack import Stack
from hookbus.embedded.state import LockedError, folder_lock
from hookbus.embedded.supervisor import StartError

PORT_DEFAULT: Final = 8787
HOST_DEFAULT: Final = LOOPBACK
LOG_BYTES_MAX: Final = 4 * 1024**2
LOG_FILES_KEPT: Final = 1

log = logging.getLogger(__name__)


class CannotStartError(Exception):
    """The stack is not up; the text says why and what to do."""


def run(layout: Layout, *, host: str, port: int | None, on_ready: Callable[[str], None]) -> None:
    """Run the stack until SIGTERM or SIGINT; ``on_ready`` is called with the gateway's address.

    Args:
        layout: the data folder.
        host: where the gateway listens.
        port: its port; 0 for any free one, None for the default.
        on_ready: called once, when every process is ready.

    Raises:
        CannotStartError: another supervisor holds the folder, the port is taken, a process does not come up.

    """
    os.umask(0o077)
    try:
        make_folder(layout.root)
        with folder_lock(layout.lock_file):
            _log_to(layout)
            stack = Stack(layout, host=host, port=_gateway_port(host, port))
            asyncio.run(_run(layout, stack, on_ready))
    except (LockedError, StartError, PostgresError, NoFreePortError, OSError) as error:
        raise CannotStartError(str(error)) from error


async def _run(layout: Layout, stack: Stack, on_ready: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(stack.start())
    try:
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with suppress(asyncio.CancelledError):
                await starting
        elif (error := starting.exception()) is not None:
            raise _plain(error)
        else:
            on_ready(stack.url)
            replaying = asyncio.create_task(replay_spool(layout, stack.url))
            await stopping
            replaying.cancel()
            with suppress(asyncio.CancelledError):
                await replaying
    finally:
        stopping.cancel()
        await stack.stop()
        log.info("hookbus has stopped")


def _plain(error: BaseException) -> BaseException:
    """The first cause inside a group of errors."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return _plain(group.exceptions[0])
    return error


def _gateway_port(host: str, port: int | None) -> int:
    if port == 0:
        return free_port(local_host(host))
    chosen = PORT_DEFAULT if port is None else port
    if not is_port_free(host, chosen):
        raise CannotStartError(
            f"port {chosen} on {host} is taken. Choose another with --port, or any free one with --port 0"
        )
    return chosen


def _log_to(layout: Layout) -> None:
    make_folder(layout.logs)
    handler = logging.handlers.RotatingFileHandler(
        layout.log_file("supervisor"), maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES_KEPT, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
