"""The files a first start leaves for people and clients: the administrator's key, the local client's settings."""

import json
import re
import tomllib
from datetime import UTC, datetime
from typing import Final, cast

from hookbus.contracts.session import KeyCreateRequest, KeyScope
from hookbus.embedded.files import write_secret_file
from hookbus.embedded.layout import Layout

ADMIN_NAME: Final = "admin"
ONE_TIME_PASSWORD: Final = "one_time_password"  # noqa: S105 - the name of a field
CLIENT_NAME: Final = "local client"

ADMIN_KEY: Final = KeyCreateRequest(name=ADMIN_NAME, scopes=frozenset({KeyScope.ADMIN}), actor="hookbus up")
CLIENT_KEY: Final = KeyCreateRequest(name=CLIENT_NAME, scopes=frozenset(KeyScope), actor="hookbus up")
"""All scopes: with it the command line of this account does everything, as it could by reading ``admin.json``. Keys
for agents of other accounts or machines are made with fewer scopes."""


def missing_keys(layout: Layout) -> list[KeyCreateRequest]:
    """The keys no file holds yet: both at the first start."""
    missing: list[KeyCreateRequest] = []
    if not layout.admin_file.exists():
        missing.append(ADMIN_KEY)
    if client_key(layout) is None:
        missing.append(CLIENT_KEY)
    return missing


def keep_key(layout: Layout, request: KeyCreateRequest, api_key: str) -> None:
    """Write a created key into its file."""
    if request is ADMIN_KEY:
        content = {"username": ADMIN_NAME, "api_key": api_key, "created_at": datetime.now(UTC).isoformat()}
        write_secret_file(layout.admin_file, json.dumps(content, indent=2) + "\n")
    else:
        _set_client(layout, "api_key", api_key)


def missing_administrator(layout: Layout) -> str | None:
    """The username of the administrator to create; None where ``admin.json`` knows of one."""
    return None if ONE_TIME_PASSWORD in _admin(layout) else ADMIN_NAME


def keep_one_time_password(layout: Layout, password: str | None) -> None:
    """Write the administrator's first password down; null where it was changed already."""
    content = _admin(layout) | {ONE_TIME_PASSWORD: password}
    write_secret_file(layout.admin_file, json.dumps(content, indent=2) + "\n")


def _admin(layout: Layout) -> dict[str, object]:
    try:
        content: object = json.loads(layout.admin_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return cast("dict[str, object]", content) if isinstance(content, dict) else {}


def keep_url(layout: Layout, url: str) -> None:
    """Write the gateway's address into the client's settings."""
    _set_client(layout, "url", url)


def client_key(layout: Layout) -> str | None:
    """The local client's API key; None where there is none yet."""
    try:
        value = tomllib.loads(layout.client_file.read_text(encoding="utf-8")).get("api_key")
    except (FileNotFoundError, tomllib.TOMLDecodeError):
        return None
    return value if isinstance(value, str) and value else None


def _set_client(layout: Layout, name: str, value: str) -> None:
    """Set one line of ``client.toml``; what else a person wrote there stays."""
    try:
        text = layout.client_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    # A JSON string is a TOML basic string.
    line = f"{name} = {json.dumps(value)}"
    pattern = re.compile(rf"^[ \t]*{name}[ \t]*=.*$", re.MULTILINE)
    changed = pattern.sub(lambda _: line, text, count=1) if pattern.search(text) else f"{line}\n{text}"
    write_secret_file(layout.client_file, changed)
