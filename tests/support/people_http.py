"""People over HTTP: made, let in, asked; and a second gateway to ask."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from hookbus.contracts.people import Role
from hookbus.embedded.ports import free_ports
from hookbus.embedded.probes import http_status, wait_until
from support.bus import bus_settings_of
from support.stack import StackFixture

START_TIMEOUT_S = 30
PASSWORD = "quite a long phrase 42"


@contextmanager
def second_gateway(stack: StackFixture, folder: Path, **settings_more: str) -> Generator[str]:
    """Another gateway on the stack's bus, with more settings; its address."""
    settings = bus_settings_of(stack, "gateway")
    (port,) = free_ports(1)
    environment = {
        **os.environ,
        "HOOKBUS_NATS_URL": settings.nats_url,
        "HOOKBUS_NATS_USER": "gateway",
        "HOOKBUS_NATS_PASSWORD": settings.nats_password.get_secret_value(),
        "HOOKBUS_HTTP_PORT": str(port),
        **settings_more,
    }
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "hookbus.gateway"], env=environment, stdout=log, stderr=log)
    try:
        assert wait_until(lambda: http_status("127.0.0.1", port, "/readyz") == 200, timeout_s=START_TIMEOUT_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_TIMEOUT_S)


@asynccontextmanager
async def client(url: str, token: str | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as opened:
        yield opened


async def post(url: str, path: str, body: dict[str, Any] | None = None, token: str | None = None) -> httpx.Response:
    async with client(url, token) as opened:
        return await opened.post(path, json=body)


async def get(url: str, path: str, token: str | None = None) -> httpx.Response:
    async with client(url, token) as opened:
        return await opened.get(path)


async def new_person(stack: StackFixture, role: Role) -> tuple[str, dict[str, Any]]:
    """A user with a password of their own, and the tokens of their session."""
    name = f"e2e-{uuid.uuid4().hex[:10]}"
    made = await post(stack.url, "/api/v1/users", {"username": name, "role": role.value}, stack.api_key)
    assert made.status_code == 201, made.text
    once = made.json()["one_time_password"]
    first = (await post(stack.url, "/api/v1/session/login", {"username": name, "password": once})).json()
    body = {"current_password": once, "new_password": PASSWORD}
    changed = await post(stack.url, "/api/v1/session/password", body, first["access_token"])
    assert changed.status_code == 200, changed.text
    return name, changed.json()
