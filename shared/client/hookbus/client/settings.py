"""What the client is told: environment variables, then ``client.toml`` in the data folder."""

from __future__ import annotations

import os

from hookbus.client import identity
from hookbus.client.failing import CACHED, CLOSED, DECIDED_KIND, FailModes
from hookbus.client.transport import Endpoint, EndpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

URL_DEFAULT = "http://127.0.0.1:8787"
DATA_DIR_DEFAULT = "~/.hookbus"
CLIENT_FILE = "client.toml"
SPOOL_FOLDER = "spool"
CLIENT_FILE_BYTES_MAX = 64 * 1024
DEADLINE_MAX_S = 600.0
API_KEY_CHARS_MAX = 4096


class Settings:
    """The client's settings, checked. ``fault`` names the first invalid one and its remedy, never its value."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.fault: str | None = None
        self.data_dir = os.path.expanduser(environ.get("HOOKBUS_DATA_DIR") or DATA_DIR_DEFAULT)  # noqa: PTH111  # pathlib doubles the start time
        written = self._read_file()
        self.url = environ.get("HOOKBUS_URL") or written.get("url") or URL_DEFAULT
        self.api_key = environ.get("HOOKBUS_API_KEY") or written.get("api_key") or None
        self.agent_id = environ.get("HOOKBUS_AGENT_ID") or written.get("agent_id") or None
        project = environ.get("HOOKBUS_PROJECT") or written.get("project")
        self.project = identity.scope_name(project) if project else None
        self.fail_modes = FailModes(environ.get("HOOKBUS_FAIL_MODE") or written.get("fail_mode") or "")
        self.fail_closed = self.fail_modes.of(DECIDED_KIND) == CLOSED
        """Of what is to be decided, and of what cannot be read and so might have been that."""
        self.fail_cached = self.fail_modes.of(DECIDED_KIND) == CACHED
        if self.fail_modes.fault is not None:
            self._note(self.fail_modes.fault)
        key_file = environ.get("HOOKBUS_SPOOL_KEY_FILE") or written.get("spool_key_file")
        self.spool_key_file = os.path.expanduser(key_file) if key_file else None  # noqa: PTH111  # as above
        """The key under which events wait; None where they wait in plain text."""
        self.deadline_s = self._deadline(environ.get("HOOKBUS_DEADLINE_S"))
        self.endpoint = self._endpoint()
        if self.agent_id is not None and not identity.is_agent_id(self.agent_id):
            self._note("HOOKBUS_AGENT_ID is not an agent id: 1-64 of a-z A-Z 0-9 _ -")
        if self.api_key is not None and not (
            self.api_key.isascii()
            and self.api_key.isprintable()
            and " " not in self.api_key
            and len(self.api_key) <= API_KEY_CHARS_MAX
        ):
            self._note("HOOKBUS_API_KEY holds characters that no key has")
            self.api_key = None

    @property
    def spool_dir(self) -> str:
        """The folder of events that wait for the gateway."""
        return f"{self.data_dir}/{SPOOL_FOLDER}"

    def _note(self, fault: str) -> None:
        self.fault = self.fault or fault

    def _endpoint(self) -> Endpoint:
        try:
            return Endpoint(self.url)
        except EndpointError as error:
            self._note(f"HOOKBUS_URL is not usable: {error}")
            return Endpoint(URL_DEFAULT)

    def _deadline(self, text: str | None) -> float | None:
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if 0.0 < value <= DEADLINE_MAX_S:
            return value
        self._note(f"HOOKBUS_DEADLINE_S is not a number of seconds between 0 and {DEADLINE_MAX_S:g}")
        return None

    def _read_file(self) -> dict[str, str]:
        path = f"{self.data_dir}/{CLIENT_FILE}"
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._note(f"{path} cannot be read: {error.strerror}")
            return {}
        try:
            text = os.read(descriptor, CLIENT_FILE_BYTES_MAX).decode()
        except (OSError, UnicodeDecodeError):
            self._note(f"{path} cannot be read as UTF-8 text")
            return {}
        finally:
            os.close(descriptor)
        parsed = parse_plain_toml(text)
        if parsed is None:
            parsed = self._parse_toml(text, path)
        return parsed

    def _parse_toml(self, text: str, path: str) -> dict[str, str]:
        import tomllib

        try:
            table: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self._note(f"{path} is not TOML: {error}")
            return {}
        return {name: value for name, value in table.items() if isinstance(value, str)}


def parse_plain_toml(text: str) -> dict[str, str] | None:
    """A file of ``key = "value"`` lines and comments, or None where it holds more than that.

    ``tomllib`` takes half as long to import as Python takes to start, so it is left for files that need it.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, separator, value = stripped.partition("=")
        name, value = name.strip(), value.strip()
        plain = (
            separator
            and name.replace("_", "").isalnum()
            and name.isascii()
            and name not in found
            and len(value) >= 2
            and value[0] == value[-1] == '"'
            and not any(mark in value[1:-1] for mark in ('"', "\\"))
        )
        if not plain:
            return None
        found[name] = value[1:-1]
    return found
