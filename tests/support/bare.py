"""The server without work that benches hold the gateway against."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

import support
from hookbus.embedded.ports import free_ports
from support.waiting import eventually


@asynccontextmanager
async def bare_server() -> AsyncGenerator[str]:
    """The reference server's address."""
    (port,) = free_ports(1)
    script = Path(support.__file__).parent / "bare_server.py"
    process = subprocess.Popen([sys.executable, str(script), str(port)])
    url = f"http://127.0.0.1:{port}"
    try:

        async def answers() -> bool:
            async with httpx.AsyncClient() as client:
                try:
                    return (await client.post(url)).status_code == 202
                except httpx.HTTPError:
                    return False

        await eventually(answers)
        yield url
    finally:
        process.terminate()
        process.wait()
