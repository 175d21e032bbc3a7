"""People and agents of a whole stack, made over its API, for tests of the console."""

import uuid
from dataclasses import dataclass
from typing import Any

import httpx

from hookbus.contracts.people import Role
from support.stack import StackFixture

PASSWORD = "quite a long phrase 42"


@dataclass(frozen=True)
class Login:
    """A name and its password."""

    username: str
    password: str


async def api(stack: StackFixture, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    """One call, as the local client or under ``token``; its JSON."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as client:
        headers = {"authorization": f"Bearer {token or stack.api_key}"}
        answer = await client.request(method, f"/api/v1/{path}", json=body, headers=headers)
    assert answer.is_success, (path, answer.status_code, answer.text)
    return answer.json()


async def newcomer(stack: StackFixture, role: Role) -> Login:
    """A user whose password is still the one-time one."""
    made = await api(stack, "POST", "users", {"username": f"console-{uuid.uuid4().hex[:10]}", "role": role.value})
    return Login(made["user"]["username"], made["one_time_password"])


async def settled(stack: StackFixture, role: Role) -> tuple[Login, str]:
    """A user with a password of their own, and an access token of theirs."""
    new = await newcomer(stack, role)
    first = await api(stack, "POST", "session/login", {"username": new.username, "password": new.password})
    body = {"current_password": new.password, "new_password": PASSWORD}
    changed = await api(stack, "POST", "session/password", body, first["access_token"])
    return Login(new.username, PASSWORD), changed["access_token"]


async def decide(stack: StackFixture, agent: str, session: str, command: str = "ls") -> dict[str, Any]:
    """What an agent's next hook is told."""
    data = {"tool": "Bash", "tool_input": {"command": command}, "cwd": "/home/dev/web"}
    return await api(stack, "POST", "decide", {"kind": "pre-task", "agent_id": agent, "session": session, "data": data})


async def emit(stack: StackFixture, kind: str, agent: str, data: dict[str, Any], session: str | None = None) -> str:
    """Store one event; its id."""
    body = {"kind": kind, "agent_id": agent, "data": data, **({"session": session} if session else {})}
    stored = await api(stack, "POST", "events", body)
    return str(stored["accepted"][0]["id"])


def unique(prefix: str) -> str:
    """A name nobody else uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"
