"""The JSON of the hook path agrees with the library's and is stricter."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.client import compactjson
from hookbus.client.compactjson import NotJsonError, dumps, loads

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_agrees_with_the_library(value: Any) -> None:
    assert dumps(value) == json.dumps(value, separators=(",", ":")).encode()
    assert loads(dumps(value).decode()) == value


@pytest.mark.parametrize(
    "text", ["", " ", "{", "nul", "{} {}", "NaN", "[Infinity]", "-Infinity", "[" * 100_000, "9" * 5_000, "'a'", "\x00"]
)
def test_refuses_what_is_not_json(text: str) -> None:
    with pytest.raises(NotJsonError):
        loads(text)


def test_the_library_stands_in_where_the_interpreter_has_no_c_parts() -> None:
    scan, encode = compactjson.library_functions()
    assert scan('{"a":[1]}', 0) == ({"a": [1]}, 9)
    assert "".join(encode({"a": [1, None]}, 0)) == '{"a":[1,null]}'


def test_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(math.inf)
    with pytest.raises(TypeError):
        dumps({"a": object()})
