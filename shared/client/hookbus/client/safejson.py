"""JSON of arbitrary Python objects: what JSON cannot say becomes a text or is left out, and nothing raises.

A value inside itself is a cycle and is cut; the same value at two places is no cycle and stands at both.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEPTH_MAX = 24
NODES_MAX = 20_000
TEXT_CHARS_MAX = 2_000
"""Of what an object says of itself."""

CYCLE = "[cycle]"
TOO_DEEP = "[left out: nested too deeply]"
TOO_MANY = "[left out: too many values]"


def jsonable(value: object) -> Any:
    """The value as what JSON can say: objects, arrays, texts, finite numbers, booleans and null."""
    return _Copier().copy(value, 0)


class _Copier:
    def __init__(self) -> None:
        self._nodes = 0
        self._above: set[int] = set()

    def copy(self, value: object, depth: int) -> Any:  # noqa: PLR0911  # a return for each kind of value
        self._nodes += 1
        if value is None or isinstance(value, (bool, str)):
            return str.__str__(value) if isinstance(value, str) else value
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if value - value == 0 else str(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            import binascii

            content = bytes(value)  # pyright: ignore[reportUnknownArgumentType]  # a memoryview of any format
            return binascii.b2a_base64(content, newline=False).decode("ascii")
        parts = _parts(value)
        if parts is None:
            return _described(value)
        if id(value) in self._above:
            return CYCLE
        if depth >= DEPTH_MAX:
            return TOO_DEEP
        self._above.add(id(value))
        try:
            return self._container(parts, depth)
        finally:
            self._above.discard(id(value))

    def _container(self, parts: dict[Any, Any] | list[Any], depth: int) -> Any:
        if isinstance(parts, list):
            copied: list[Any] = []
            for item in parts:
                if self._nodes >= NODES_MAX:
                    copied.append(TOO_MANY)
                    break
                copied.append(self.copy(item, depth + 1))
            return copied
        mapping: dict[str, Any] = {}
        for key, item in parts.items():
            if self._nodes >= NODES_MAX:
                mapping["..."] = TOO_MANY
                break
            mapping[key if isinstance(key, str) else _described(key)] = self.copy(item, depth + 1)
        return mapping


def _parts(value: Any) -> dict[Any, Any] | list[Any] | None:
    """What a container holds; None for a value that is none."""
    if isinstance(value, dict):
        return value  # pyright: ignore[reportUnknownVariableType]  # any keys and values
    if isinstance(value, (list, tuple)):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # any items
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=_described)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  # any items
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: getattr(value, name, None) for name in value.__dataclass_fields__}
    return None


def _described(value: object) -> str:
    """A date as ISO 8601, anything else as it describes itself."""
    try:
        told = getattr(value, "isoformat", None)
        text = told() if callable(told) and not isinstance(value, type) else str(value)
        return text[:TEXT_CHARS_MAX] if isinstance(text, str) else type(value).__name__
    except Exception:  # noqa: BLE001  # a foreign object's own method may do anything
        return f"[{type(value).__name__}]"
