"""Structure: what no honest hook sends, whatever its text says.

Keys, not values: agents send code all day, and ``__proto__`` inside a source file is a word like any other. As a key it
reaches out of the object it stands in, in any JavaScript program that merges it later.
"""

import re
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from hookbus.contracts import limits
from hookbus.gateway.guard.effort import Effort, EffortSpentError

PROTOTYPE_KEYS: Final = frozenset({"__proto__", "constructor", "prototype"})
KEY_CHARS_MAX: Final = 1_024
VALUES_PER_UNIT: Final = 4
UNBOUNDED_UNITS: Final = limits.EVENT_BYTES_MAX * 2
"""More than an event has values: its size is the bound."""
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Refusal:
    """Why the structure is refused, and where."""

    loc: str
    reason: str


def check_structure(data: dict[str, JsonValue], effort: Effort | None = None) -> Refusal | None:
    """The first fault of ``data``, or None. Visits each object and list once, as many of them as ``effort`` allows."""
    try:
        return _first_fault(data, effort or Effort(UNBOUNDED_UNITS))
    except EffortSpentError:
        return Refusal("data", "holds more values than can be judged")


def _first_fault(data: dict[str, JsonValue], effort: Effort) -> Refusal | None:
    stack: list[tuple[str, JsonValue]] = [("data", data)]
    while stack:
        loc, node = stack.pop()
        if isinstance(node, (dict, list)):
            effort.spend(1 + len(node) // VALUES_PER_UNIT)
        if isinstance(node, dict):
            if not _has_plain_keys(node):
                for key in node:
                    reason = key_fault(key)
                    if reason is not None:
                        return Refusal(loc, reason)
            stack.extend(
                (f"{loc}.{key}"[:KEY_CHARS_MAX], value)
                for key, value in node.items()
                if isinstance(value, (dict, list))
            )
        elif isinstance(node, list):
            stack.extend((loc, value) for value in node if isinstance(value, (dict, list)))
    return None


def _has_plain_keys(node: dict[str, JsonValue]) -> bool:
    """Whether a look at all keys together finds nothing."""
    if not PROTOTYPE_KEYS.isdisjoint(node):
        return False
    together = "".join(node)
    short = len(together) <= KEY_CHARS_MAX or max(map(len, node)) <= KEY_CHARS_MAX
    return short and together.isprintable()


def key_fault(key: str) -> str | None:
    """What is wrong with a key, or None."""
    if key in PROTOTYPE_KEYS:
        return f"the key {key} is refused: it would reach an object's prototype"
    if len(key) > KEY_CHARS_MAX:
        return f"a key is over {KEY_CHARS_MAX} characters"
    if not key.isprintable() and has_control(key):
        return "a key holds a control character"
    return None


def has_control(text: str) -> bool:
    """Whether ``text`` holds NUL or another control character."""
    return _CONTROLS.search(text) is not None
