"""JSON as hookbus accepts it: one meaning only.

Refused, beyond what is not JSON at all: NaN and Infinity, a number that overflows to infinity, an integer beyond 64
bits, a repeated key, a lone surrogate, nesting over the limit. Each of these is read differently by different parsers,
and a guard that reads a body differently from the program behind it guards nothing.
"""

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, NoReturn

from hookbus.contracts import limits
from hookbus.contracts.problems import ProblemCode, ProblemError

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
_ESCAPED_SURROGATE: Final = b"\\ud"

JsonTree = dict[str, "JsonTree"] | list["JsonTree"] | str | int | float | Decimal | bool | None


def refuse(detail: str) -> NoReturn:
    """Answer 400."""
    raise ProblemError(ProblemCode.NOT_JSON, detail)


def parse(body: bytes, *, exact_numbers: bool = False) -> JsonTree:
    """The value in ``body``.

    Args:
        body: UTF-8 text.
        exact_numbers: read fractions as :class:`Decimal`, never through a float.

    Raises:
        ProblemError: ``not_json``.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        refuse("the body is not UTF-8")
    parse_fraction: Callable[[str], float | Decimal] = Decimal if exact_numbers else _finite
    try:
        value: JsonTree = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=parse_fraction,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        refuse(f"the body is not JSON: {error.msg} at character {error.pos}")
    except RecursionError:
        refuse(f"the body nests deeper than {limits.JSON_DEPTH_MAX} levels")
    _check_depth(value)
    if _ESCAPED_SURROGATE in body.lower() and _has_lone_surrogate(value):
        refuse("the body holds half of a surrogate pair")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        refuse("an object repeats a key")
    return result


def _constant(name: str) -> NoReturn:
    refuse(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        refuse("a number is too large")
    return number


def _integer(text: str) -> int:
    # Digits first: converting a very long one takes quadratic time.
    if len(text) > 20:
        refuse("an integer does not fit 64 bits")
    number = int(text)
    if not INTEGER_MIN <= number <= INTEGER_MAX:
        refuse("an integer does not fit 64 bits")
    return number


def _check_depth(value: JsonTree) -> None:
    """Level by level, so that neither a deep nor a wide body costs more than its size."""
    level = [value] if isinstance(value, (dict, list)) else []
    depth = 0
    while level:
        depth += 1
        if depth > limits.JSON_DEPTH_MAX:
            refuse(f"the body nests deeper than {limits.JSON_DEPTH_MAX} levels")
        below: list[JsonTree] = []
        for node in level:
            children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
            below.extend(child for child in children if isinstance(child, (dict, list)))
        level = below


def _has_lone_surrogate(value: JsonTree) -> bool:
    stack: list[JsonTree] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            if not _encodable(node):
                return True
        elif isinstance(node, dict):
            if not all(map(_encodable, node)):
                return True
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return False


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
