"""The export of Codex's usage in its ``config.toml``. Pure: text in, text out.

The text is changed by whole lines, and each change is read back: what else the file says must be what it said before.
"""

import re
import tomllib
from typing import Any, Final, cast

import tomlkit

from hookbus.cli.install import jsontext
from hookbus.cli.install.agents import LOGS_PATH
from hookbus.cli.install.jsontext import JsonTextError
from hookbus.cli.install.variables import Added, Stripped, Written

TABLE: Final = "otel"
KEY: Final = "exporter"
NAME: Final = f"{TABLE}.{KEY}"
"""In the note of an installation, for the key; ``TABLE`` stands there where that was added too."""

_HEADER_LINE: Final = re.compile(
    r"^[ \t]*\[[ \t]*(?:otel|\"otel\"|'otel')[ \t]*\][ \t\r]*(?:#[^\n]*)?(?:\n|\Z)", re.MULTILINE
)
_KEY_LINE: Final = re.compile(r"^[ \t]*(?:exporter|\"exporter\"|'exporter')[ \t]*=[^\n]*(?:\n|\Z)", re.MULTILINE)


def with_telemetry(text: str, url: str, agent_id: str | None) -> Added | None:
    """The text with Codex's log export to the gateway; None where it is not free to be set.

    Raises:
        JsonTextError: the text is not TOML.
    """
    expected = _parsed(text)
    line = _line(url, agent_id)
    end = jsontext.newline(text)
    if TABLE not in expected:
        joint = "" if not text or text.endswith(end * 2) else end if text.endswith(end) else end * 2
        header = f"[{TABLE}]"
        return Added(f"{text}{joint}{header}{end}{line}{end}", {TABLE: header, NAME: line})
    table = _table(expected)
    if table is None or KEY in table:
        return Added(text) if table is not None and _is_ours(table[KEY]) else None
    table.update(tomllib.loads(line))
    for found in _HEADER_LINE.finditer(text):
        added = f"{line}{end}" if found[0].endswith("\n") else f"{end}{line}"
        candidate = f"{text[: found.end()]}{added}{text[found.end() :]}"
        if _says(candidate, expected):
            return Added(candidate, {NAME: line})
    return None


def without_telemetry(text: str, written: Written | None) -> Stripped:
    """The text without that export, and without its table where nothing else stands there and hookbus made it.

    An export that somebody else set stays, and so does all that others wrote beside it.

    Raises:
        JsonTextError: the text is not TOML.
    """
    expected = _parsed(text)
    table = _table(expected)
    if table is None or not _is_ours(table.get(KEY)):
        return Stripped(text)
    del table[KEY]
    bare = _without_line(text, _KEY_LINE, expected)
    if bare is None:
        return Stripped(text, [NAME])
    if table or (written is not None and TABLE not in written):
        return Stripped(bare)
    del expected[TABLE]
    gone = _without_line(bare, _HEADER_LINE, expected)
    return Stripped(bare if gone is None else gone)


def _line(url: str, agent_id: str | None) -> str:
    headers = tomlkit.inline_table()
    headers["Authorization"] = "Bearer ${HOOKBUS_API_KEY}"
    if agent_id is not None:
        headers["x-hookbus-agent"] = agent_id
    http = tomlkit.inline_table()
    http["endpoint"] = f"{url}{LOGS_PATH}"
    http["protocol"] = "binary"
    http["headers"] = headers
    exporter = tomlkit.inline_table()
    exporter["otlp-http"] = http
    return tomlkit.dumps({KEY: exporter}).strip()


def _is_ours(exporter: object) -> bool:
    return LOGS_PATH in str(exporter) and "HOOKBUS_API_KEY" in str(exporter)


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JsonTextError(f"not TOML: {error}") from None


def _table(document: dict[str, Any]) -> dict[str, Any] | None:
    found: Any = document.get(TABLE)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _says(text: str, expected: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except tomllib.TOMLDecodeError:
        return False


def _without_line(text: str, pattern: re.Pattern[str], expected: dict[str, Any]) -> str | None:
    """The text without the one matching line whose absence makes it say ``expected``."""
    for found in pattern.finditer(text):
        candidate = text[: found.start()] + text[found.end() :]
        if _says(candidate, expected):
            return candidate
    return None
