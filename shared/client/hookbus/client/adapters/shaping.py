"""Brings what agents send within the bounds of the wire: size, depth, legal text, the types of known fields."""

from __future__ import annotations

from hookbus.client.compactjson import as_object, dumps
from hookbus.client.identity import identifier, is_identifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

EVENT_BYTES_TARGET = 224 * 1024
"""Below the wire's 256 KiB by more than the envelope that the gateway adds."""

STRING_CHARS_STEPS = (160_000, 32_000, 8_000, 2_000, 400)
"""The longest text kept; the next step is taken while the event is over its target."""

DEPTH_MAX = 24
"""Nesting below ``data``; the wire's own bound is 32 for the whole request."""

NODES_MAX = 20_000
KEY_CHARS_MAX = 256
INTEGER_MAX = 2**63 - 1
TRUNCATED_NAMES_MAX = 16
"""How many cut fields are named; those that a decision depends on are named beyond it too."""

FIELDS_KEPT_MAX = 64
"""Of an event's own fields, where their very names are too much."""

NAME_CHARS_MAX = 128
TEXT_CHARS_MAX = 1_000
PATH_CHARS_MAX = 4_096
TOKENS_MAX = 10_000_000
COST_USD_MAX = 100
PROTOTYPE_KEYS = frozenset({"__proto__", "constructor", "prototype"})
DECIDING_NAMES = frozenset(
    {
        "absolute_path",
        "args",
        "cmd",
        "command",
        "dir_path",
        "directory",
        "filePath",
        "file_path",
        "file_paths",
        "notebook_path",
        "path",
        "paths",
        "script",
        "target_file",
        "url",
    }
)
"""Fields of a tool's input that decide whether it may run; a cut in one of them leaves the decision in the dark."""

FRAME_NAMES = frozenset({"cwd", "data", "tool", "tool_input"})
"""Fields of the event by which those are judged; ``data`` is the event as a whole."""

_NAMES = ("tool", "status")
_TOKENS = ("estimated_tokens", "tokens_used", "input_tokens", "output_tokens", "cache_read_tokens")
_COSTS = ("estimated_cost", "cost")


class Shaper:
    """Copies JSON values within bounds and remembers what it had to cut."""

    def __init__(self, string_chars_max: int, *, rename_prototype_keys: bool) -> None:
        self._string_chars_max = string_chars_max
        self._rename = rename_prototype_keys
        self._nodes = 0
        self.truncated: list[str] = []

    def copy(self, value: object, name: str = "", depth: int = 0) -> Any:  # noqa: PLR0911  # a return for each JSON type
        """The value within bounds. ``name`` is the key it lies under."""
        self._nodes += 1
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return value if -INTEGER_MAX <= value <= INTEGER_MAX else f"[{value.bit_length()}-bit integer]"
        if isinstance(value, float):
            return value if value - value == 0 else str(value)
        if depth >= DEPTH_MAX or self._nodes > NODES_MAX:
            return self._left_out(name)
        if isinstance(value, dict):
            return self._mapping(value, name, depth)  # pyright: ignore[reportUnknownArgumentType]  # parsed JSON
        if isinstance(value, list):
            return self._sequence(value, name, depth)  # pyright: ignore[reportUnknownArgumentType]  # parsed JSON
        return self._left_out(name)

    def _mapping(self, value: dict[str, Any], name: str, depth: int) -> dict[str, Any]:
        copied: dict[str, Any] = {}
        for key, item in value.items():
            if self._nodes > NODES_MAX:
                copied["..."] = self._left_out(name)
                break
            # A key names its value in what is reported as cut; a list's items go under the list's name.
            copied[self._key(key)] = self.copy(item, key[:NAME_CHARS_MAX], depth + 1)
        return copied

    def _sequence(self, value: list[Any], name: str, depth: int) -> list[Any]:
        copied: list[Any] = []
        for item in value:
            if self._nodes > NODES_MAX:
                copied.append(self._left_out(name))
                break
            copied.append(self.copy(item, name, depth + 1))
        return copied

    def _key(self, key: str) -> str:
        if len(key) > KEY_CHARS_MAX:
            self._note(key[:NAME_CHARS_MAX])
        legal = _legal(key[:KEY_CHARS_MAX])
        return f"[{legal}]" if self._rename and legal in PROTOTYPE_KEYS else legal

    def _text(self, text: str, name: str) -> str:
        if len(text) <= self._string_chars_max:
            return _legal(text)
        self._note(name)
        return f"{_legal(text[: self._string_chars_max])}[... {len(text) - self._string_chars_max} characters cut]"

    def _left_out(self, name: str) -> str:
        self._note(name)
        return "[left out]"

    def _note(self, name: str) -> None:
        self.truncated = _noted(self.truncated, _legal(name) or "data")


def shape(data: dict[str, Any], *, to_decide: bool) -> dict[str, Any]:
    """``data`` of an event within the wire's bounds; ``truncated`` in it names the fields that were cut.

    What is to be decided keeps the keys it came with, so that the gateway judges them; a record has its prototype
    keys put in brackets, so that the gateway need not refuse it.
    """
    shaped: dict[str, Any] = {}
    for chars_max in STRING_CHARS_STEPS:
        shaper = Shaper(chars_max, rename_prototype_keys=not to_decide)
        copied = as_object(shaper.copy(data)) or {}
        if "truncated" in copied:
            # The name is taken: what hookbus says in it must not be what the agent said.
            copied["raw_truncated"] = copied.pop("truncated")
        shaped = conform(copied)
        if shaper.truncated:
            shaped["truncated"] = shaper.truncated
        if len(dumps(shaped)) <= EVENT_BYTES_TARGET:
            return shaped
    return _leave_out_largest(shaped)


def _leave_out_largest(shaped: dict[str, Any]) -> dict[str, Any]:
    """Many small values can be too much as well: leave whole fields out, the largest first."""
    known: list[str] = shaped.pop("truncated", [])
    sizes = {name: len(dumps(value)) for name, value in shaped.items()}
    total = sum(sizes.values())
    left_out: list[str] = []
    for name in sorted(sizes, key=lambda item: -sizes[item]):
        if total <= EVENT_BYTES_TARGET // 2:
            break
        shaped[name] = {"left_out": True} if name == "tool_input" else f"[left out: {sizes[name]} bytes]"
        total -= sizes[name]
        left_out.append(name)
    if len(dumps(shaped)) > EVENT_BYTES_TARGET:
        shaped = {name: shaped[name] for name in list(shaped)[:FIELDS_KEPT_MAX]}
        left_out.insert(0, "data")
    truncated: list[str] = []
    for name in (*left_out, *known):
        truncated = _noted(truncated, name)
    return {**shaped, "truncated": truncated}


def _noted(names: list[str], name: str) -> list[str]:
    """The names of what was cut with one more. The bound never hides one on which a decision depends."""
    if name in names or (len(names) >= TRUNCATED_NAMES_MAX and not _decides(name)):
        return names
    return [*names, name]


def _decides(name: str) -> bool:
    return name in DECIDING_NAMES or name in FRAME_NAMES


def unseen_names(data: dict[str, Any]) -> list[str]:
    """The cut fields on which a decision depends."""
    return [name for name in data.get("truncated", []) if _decides(name)]


def conform(data: dict[str, Any]) -> dict[str, Any]:
    """Give the fields the wire knows their types. What cannot be brought to one moves to ``raw_<name>``."""
    _conform_each(data, ("operation_id", "request_id"), _identifier)
    _conform_each(data, _NAMES, _name)
    _conform_each(data, ("description",), _description)
    _conform_each(data, ("cwd",), _path)
    _conform_each(data, _TOKENS, _tokens)
    _conform_each(data, _COSTS, _cost)
    _conform_each(data, ("fingerprint",), as_object)
    if "tool_input" in data and not isinstance(data["tool_input"], dict):
        data["tool_input"] = {"value": data["tool_input"]}
    return data


def _conform_each(data: dict[str, Any], names: tuple[str, ...], rule: Callable[[object], Any]) -> None:
    for name in names:
        if name not in data:
            continue
        value = data.pop(name)
        legal = None if value is None else rule(value)
        if legal is not None:
            data[name] = legal
        if value is not None and (legal is None or (isinstance(value, str) and legal != value)):
            data[f"raw_{name}"] = value


def _identifier(value: object) -> str | None:
    if isinstance(value, int):
        value = str(value)
    if not isinstance(value, str) or not value:
        return None
    return value if is_identifier(value) else identifier(value)


def _name(value: object) -> str | None:
    return _without_nul(value[:NAME_CHARS_MAX]) if isinstance(value, str) else None


def _description(value: object) -> str | None:
    return _without_nul(value[:TEXT_CHARS_MAX]) if isinstance(value, str) else None


def _path(value: object) -> str | None:
    return _without_nul(value) if isinstance(value, str) and len(value) <= PATH_CHARS_MAX else None


def _tokens(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if value == int(value) and 0 <= value <= TOKENS_MAX else None


def _cost(value: object) -> str | None:
    """USD as a decimal string of up to 6 places; a JSON number is rounded to them."""
    if isinstance(value, str):
        whole, _, places = value.partition(".")
        legal = len(value) <= 16 and value.isascii() and whole.isdigit() and (not places or places.isdigit())
        return value if legal and len(places) <= 6 and float(value) <= COST_USD_MAX else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return f"{value:.6f}" if 0 <= value <= COST_USD_MAX else None


def _without_nul(text: str) -> str:
    """A NUL is no character to the services' database."""
    return text.replace("\x00", "\ufffd")


def _legal(text: str) -> str:
    """The text without lone surrogates, which UTF-8 cannot say."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode()
