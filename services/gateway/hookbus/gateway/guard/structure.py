"""Structure: what no honest hook sends, whatever its text says.

Keys, not values: agents send code all day, and ``__proto__`` inside a source file is a word like any other. As a key it
reaches out of the object it stands in, in any JavaScript program that merges it later.
"""

from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

PROTOTYPE_KEYS: Final = frozenset({"__proto__", "constructor", "prototype"})
KEY_CHARS_MAX: Final = 1_024
_CONTROLS: Final = frozenset(map(chr, (*range(0x20), 0x7F, *range(0x80, 0xA0))))


@dataclass(frozen=True)
class Refusal:
    """Why the structure is refused, and where."""

    loc: str
    reason: str


def check_structure(data: dict[str, JsonValue]) -> Refusal | None:
    """The first fault of ``data``, or None. Visits each node once."""
    stack: list[tuple[str, JsonValue]] = [("data", data)]
    while stack:
        loc, node = stack.pop()
        if isinstance(node, dict):
            for key, value in node.items():
                reason = key_fault(key)
                if reason is not None:
                    return Refusal(loc, reason)
                if isinstance(value, (dict, list)):
                    stack.append((f"{loc}.{key}"[:KEY_CHARS_MAX], value))
        elif isinstance(node, list):
            stack.extend((loc, value) for value in node if isinstance(value, (dict, list)))
    return None


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
    return not _CONTROLS.isdisjoint(text)
