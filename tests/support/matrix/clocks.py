"""Faults of time: one service whose clock is an hour ahead, then an hour behind."""

import sysconfig
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from support.matrix.row import Fault, Scene

HOUR = "1h"
DIRECTIONS = ("+", "-")
FOLDERS = (f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")
LIBRARY = "libfaketime.so.1"


def clock_off(service: str) -> Fault:
    """The service runs an hour ahead of all others, is restarted an hour behind them, and set right again."""

    @asynccontextmanager
    async def inflict(scene: Scene) -> AsyncGenerator[None]:
        library = _library()
        try:
            for sign in DIRECTIONS:
                # Timers keep to the real clock: a wrong one is set wrong, it does not run faster.
                off = {"LD_PRELOAD": str(library), "FAKETIME": f"{sign}{HOUR}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
                scene.stand.start_with(service, off)
                await scene.stand.restart(service)
                await scene.load.flowing()
            yield
        finally:
            scene.stand.start_with(service, None)
            await scene.stand.restart(service)

    return Fault(f"clock of {service} an hour ahead, then behind", inflict)


def _library() -> Path:
    for folder in FOLDERS:
        if (path := Path(folder) / LIBRARY).exists():
            return path
    pytest.skip("libfaketime is not installed (Debian: libfaketime)")
