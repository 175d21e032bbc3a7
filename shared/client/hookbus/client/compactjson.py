"""JSON for a process that lives for milliseconds.

``json`` imports ``re`` and ``enum``, which take longer than the rest of a hook together. The C scanner and encoder
behind it are used directly; where an interpreter has none of them, ``json`` itself is. Both sides are strict: no NaN
or Infinity in or out.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

WHITESPACE = " \t\n\r"


class NotJsonError(ValueError):
    """The text is not one JSON value of legal numbers and bounded nesting."""


def _refuse_constant(name: str) -> float:
    raise NotJsonError(f"{name} is not JSON")


def _refuse_object(value: object) -> object:
    raise TypeError(f"{type(value).__name__} is not a JSON value")


class _Rules:
    """What the C scanner asks its context for."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = staticmethod(_refuse_constant)
    memo: dict[str, str] = {}  # noqa: RUF012  # the scanner takes the attribute, it never shares it


def c_functions() -> tuple[Callable[[str, int], tuple[Any, int]], Callable[[object, int], tuple[str, ...]]]:
    """Scanner and encoder of the interpreter's own C module. Raises where it has none that works like 3.11's."""
    import _json

    scan = _json.make_scanner(_Rules())  # pyright: ignore[reportArgumentType]  # typeshed asks for a JSONDecoder; the scanner reads the attributes above
    markers = indent = None
    sort_keys = skip_keys = allow_nan = False
    encode = _json.make_encoder(
        markers, _refuse_object, _json.encode_basestring_ascii, indent, ":", ",", sort_keys, skip_keys, allow_nan
    )
    probe, _ = scan('{"a":[1,2.5,"\\u00e9",null]}', 0)
    if "".join(encode(probe, 0)) != '{"a":[1,2.5,"\\u00e9",null]}':
        raise TypeError("the C encoder speaks another dialect")
    return scan, encode


def library_functions() -> tuple[Callable[[str, int], tuple[Any, int]], Callable[[object, int], tuple[str, ...]]]:
    """The same two of the ``json`` library."""
    import json

    decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def encode(value: object, _level: int) -> tuple[str, ...]:
        return (json.dumps(value, separators=(",", ":"), allow_nan=False),)

    return decoder.raw_decode, encode


try:
    _scan, _encode = c_functions()
except (ImportError, AttributeError, TypeError, ValueError):
    _scan, _encode = library_functions()


def loads(text: str) -> Any:
    """The value of a JSON text. Raises :class:`NotJsonError`; of a repeated key the last one counts."""
    body = text.strip(WHITESPACE)
    try:
        value, end = _scan(body, 0)
    except StopIteration:
        raise NotJsonError("no JSON value") from None
    except RecursionError:
        raise NotJsonError("nested too deeply") from None
    except ValueError as error:
        raise NotJsonError(str(error)) from None
    except SystemError:
        # CPython 3.11's scanner raises this where json.decoder, which holds its exception, is not imported.
        raise NotJsonError(_complaint(body)) from None
    if end != len(body):
        raise NotJsonError("more than one JSON value")
    return value


def _complaint(body: str) -> str:
    """What the library finds wrong with a text that the C scanner refuses."""
    decode, _ = library_functions()
    try:
        decode(body, 0)
    except ValueError as error:
        return str(error)
    return "malformed JSON"


def dumps(value: object) -> bytes:
    """The value as compact ASCII JSON. Raises ValueError or TypeError for what JSON cannot say."""
    return "".join(_encode(value, 0)).encode("ascii")


def as_object(value: object) -> dict[str, Any] | None:
    """The value where it is a JSON object, else None."""
    return value if isinstance(value, dict) else None  # pyright: ignore[reportUnknownVariableType]  # JSON keys are strings


def as_list(value: object) -> list[Any] | None:
    """The value where it is a JSON array, else None."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType]  # items are any JSON


def as_text(value: object) -> str | None:
    """The value where it is a non-empty string, else None."""
    return value if isinstance(value, str) and value else None
