"""The variables with which Claude Code exports its usage, in the ``env`` of a settings file. Pure: text in, text out.

Whoever takes them out has to know them from those that a person wrote: by the note of the installation, which keeps
the names it added and digests of their values; where there is no note, by what only hookbus writes.
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from hookbus.cli.install import jsonpath, jsontext
from hookbus.cli.install.agents import LOGS_ENDPOINT, LOGS_HEADERS, LOGS_PATH, TELEMETRY_NAMES

ENV: Final = "env"

Written = Mapping[str, Collection[str]]
"""What an installation added: names, and for each the digests of the values it may have."""

_OUR_HEADERS: Final = re.compile(r"Authorization=Bearer hbk_[^,\s]+(?:,x-hookbus-agent=[\w-]+)?")


@dataclass(frozen=True)
class Added:
    """A text with what was added to it: name and value. ``left`` is what others had set otherwise."""

    text: str
    values: dict[str, str] = field(default_factory=dict[str, str])
    left: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Stripped:
    """A text without what hookbus added. ``left`` may be hookbus's, which cannot be told."""

    text: str
    left: list[str] = field(default_factory=list[str])


def digest(value: str) -> str:
    """What is kept of a value: enough to know it again, and never the key in it."""
    return hashlib.sha256(value.encode()).hexdigest()


def with_variables(text: str, variables: Mapping[str, str]) -> Added:
    """The text with the variables that nobody has set.

    Raises:
        JsonTextError: ``env`` is no object.
    """
    added: dict[str, str] = {}
    left: list[str] = []
    for name, value in variables.items():
        text = jsonpath.ensure(text, (ENV,), {})
        known = jsonpath.at(text, (ENV,)).member(name)
        if known is None:
            text = jsontext.append(text, jsonpath.at(text, (ENV,)), value, key=name)
            added[name] = value
        elif known.value != value:
            left.append(name)
    return Added(text, added, left)


def without_variables(text: str, written: Written | None, url: str) -> Stripped:
    """The text without those that an installation ``written`` down added; None where nothing is known of it.

    Raises:
        JsonTextError: the text is not a settings file.
    """
    values = _values(text)
    left: list[str] = []
    for name, value in values.items():
        shaped = _has_our_shape(name, values, url)
        known = written is not None and digest(value) in written.get(name, ())
        if known or (shaped and (written is None or name in written)):
            env = jsonpath.at(text, (ENV,))
            text = jsonpath.drop_empty(jsontext.remove(text, env, env.keys.index(name)), ENV)
        elif name in (TELEMETRY_NAMES if written is None else written):
            left.append(name)
    return Stripped(text, left)


def _values(text: str) -> dict[str, str]:
    node = jsonpath.root(text).member(ENV)
    if node is None or not isinstance(node.value, dict):
        return {}
    return {name: value for name, value in cast("dict[str, Any]", node.value).items() if isinstance(value, str)}


def _has_our_shape(name: str, values: dict[str, str], url: str) -> bool:
    """Whether only hookbus writes such a value. Other services have an address that ends alike."""
    ours = _OUR_HEADERS.fullmatch(values.get(LOGS_HEADERS, "")) is not None
    if name == LOGS_ENDPOINT:
        return values[name] == f"{url}{LOGS_PATH}" or (ours and values[name].endswith(LOGS_PATH))
    return name == LOGS_HEADERS and ours
