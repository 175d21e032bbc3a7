"""Edits of a JSON text that leave every other byte of it as it is: comments, order, indentation, trailing commas.

A value is found by its place in the text; what is added goes behind the last value of its container, what is removed
goes with the comma before it.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

DEPTH_MAX: Final = 64
INDENT_DEFAULT: Final = "  "
_SPACE: Final = re.compile(r"(?:[ \t\r\n\ufeff]|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING: Final = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_SCALAR: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_BLANK: Final = re.compile(r"[ \t]*\r?\n")
_INDENT: Final = re.compile(r"\n([ \t]+)\S")


class JsonTextError(ValueError):
    """The text is not JSON, also when comments and trailing commas are allowed for."""


@dataclass
class Node:
    """A value and where it lies: ``text[start:end]``. ``keys`` of an object stand beside its ``items``."""

    start: int
    end: int
    value: Any
    keys: list[str] = field(default_factory=list[str])
    key_starts: list[int] = field(default_factory=list[int])
    items: list["Node"] = field(default_factory=list["Node"])

    def member(self, key: str) -> "Node | None":
        """The value under a key of an object."""
        return self.items[self.keys.index(key)] if key in self.keys else None


def parse(text: str) -> Node:
    """The value of a text with the places of everything in it.

    Raises:
        JsonTextError: with the line of the first fault.
    """
    node, at = _value(text, _skip(text, 0), 0)
    if _skip(text, at) != len(text):
        raise _fault(text, at)
    return node


def append(text: str, container: Node, value: Any, *, key: str | None = None) -> str:
    """The text with ``value`` as the last of an array, or of an object under ``key``."""
    unit, line_end = _unit(text), newline(text)
    depth = _depth(text, container.start, unit)
    inner = line_end + unit * (depth + 1)
    rendered = json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", inner)
    if key is not None:
        rendered = f"{json.dumps(key, ensure_ascii=False)}: {rendered}"
    if container.items:
        at = container.items[-1].end
        return f"{text[:at]},{inner}{rendered}{text[at:]}"
    at = container.start + 1
    rest = text[at:]
    closing = "" if rest.lstrip(" \t\r").startswith("\n") else line_end + unit * depth
    return f"{text[:at]}{inner}{rendered}{closing}{rest}"


def remove(text: str, container: Node, index: int) -> str:
    """The text without one item of an array, or without one key of an object and its value; comments stay."""
    starts = container.key_starts if container.keys else [item.start for item in container.items]
    begin, end = starts[index], container.items[index].end
    comma = _skip(text, end)
    rest = text[end:comma] + text[comma + 1 :] if text[comma] == "," else text[end:]
    if index > 0:
        previous = container.items[index - 1].end
        before = _skip(text, previous)
        kept = text[previous:before] + text[before + 1 : begin]
        if not kept.strip():
            return text[:previous] + text[end:]
        # A comment stands between the two. The comma before it goes only where none comes behind.
        return _joined(text[:begin], rest) if text[comma] == "," else _joined(text[:previous] + kept, rest)
    if len(container.items) > 1:
        following = starts[1]
        bare = not (text[end:comma] + text[comma + 1 : following]).strip()
        return text[:begin] + text[following:] if bare else _joined(text[:begin], rest)
    if text[container.start + 1 : begin].strip():
        return _joined(text[:begin], rest)
    stripped = rest.lstrip(" \t\r\n")
    return text[: container.start + 1] + (stripped if stripped[0] in "]}" else rest)


def _joined(before: str, after: str) -> str:
    """Both, without the empty line that what stood between them leaves."""
    stripped = before.rstrip(" \t")
    blank = _BLANK.match(after)
    return stripped + after[blank.end() :] if stripped.endswith("\n") and blank else before + after


def is_bare(text: str, container: Node) -> bool:
    """Whether nothing stands in a container, no comment either."""
    return not text[container.start + 1 : container.end - 1].strip()


def newline(text: str) -> str:
    """How the text ends its lines."""
    return "\r\n" if "\r\n" in text else "\n"


def _value(text: str, at: int, depth: int) -> tuple[Node, int]:
    if depth > DEPTH_MAX:
        raise JsonTextError(f"nested deeper than {DEPTH_MAX} levels")
    if text[at : at + 1] in ("{", "["):
        return _container(text, at, depth)
    match = _STRING.match(text, at) or _SCALAR.match(text, at)
    if match is None:
        raise _fault(text, at)
    return Node(at, match.end(), _scalar(text, match)), match.end()


def _scalar(text: str, match: re.Match[str]) -> Any:
    try:
        return json.loads(match.group())
    except ValueError:
        raise _fault(text, match.start()) from None


def _container(text: str, start: int, depth: int) -> tuple[Node, int]:
    is_object = text[start] == "{"
    close = "}" if is_object else "]"
    node = Node(start, start, {} if is_object else [])
    at = _skip(text, start + 1)
    while text[at : at + 1] != close:
        if is_object:
            match = _STRING.match(text, at)
            if match is None:
                raise _fault(text, at)
            key = str(_scalar(text, match))
            if key in node.keys:
                raise JsonTextError(f"the key {key!r} stands twice in one object")
            node.keys.append(key)
            node.key_starts.append(at)
            at = _skip(text, match.end())
            if text[at : at + 1] != ":":
                raise _fault(text, at)
            at = _skip(text, at + 1)
        item, at = _value(text, at, depth + 1)
        node.items.append(item)
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != close:
            raise _fault(text, at)
    node.end = at + 1
    values = [item.value for item in node.items]
    node.value = dict(zip(node.keys, values, strict=True)) if is_object else values
    return node, node.end


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _fault(text: str, at: int) -> JsonTextError:
    return JsonTextError(f"not JSON at line {text.count(chr(10), 0, at) + 1}")


def _unit(text: str) -> str:
    """The indentation of one level, as the text itself has it."""
    match = _INDENT.search(text)
    return match.group(1) if match else INDENT_DEFAULT


def _depth(text: str, at: int, unit: str) -> int:
    """How many levels the line is indented on which a container opens."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return (len(line) - len(line.lstrip(" \t"))) // len(unit)
