"""Strict JSON: one meaning only, in linear time."""

import gc
import json
import time
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.gateway import strict_json


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b"NaN",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e400]",
        b"[18446744073709551616]",
        b"[-9223372036854775809]",
        b"[" + b"9" * 100_000 + b"]",
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "\\u0061": 2}}',
        b'["\\ud800"]',
        b'["\\uDFFF x"]',
        b'{"\\ud800": 1}',
        b'["\\ude00\\ud83d"]',
        b"[" * 33 + b"]" * 33,
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b"[" * 200_000,
    ],
)
def test_refused(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        strict_json.parse(body)
    assert caught.value.problem.code is ProblemCode.NOT_JSON


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        (b"[18446744073709551615, -9223372036854775808]", [2**64 - 1, -(2**63)]),
        ('["\\ud83d\\ude00 \U0001f600"]'.encode(), ["\U0001f600 \U0001f600"]),
        (b'["\\\\ud800"]', ["\\ud800"]),
        (b"[" * 32 + b"]" * 32, None),
        (b'["\\u0000"]', ["\x00"]),
    ],
)
def test_accepted(body: bytes, value: object) -> None:
    parsed = strict_json.parse(body)
    if value is not None:
        assert parsed == value


def test_exact_numbers() -> None:
    """A fraction is read as it was written, never through a float."""
    value = strict_json.parse(b"[0.10000000000000000001, 1e-7, 5]", exact_numbers=True)
    assert value == [Decimal("0.10000000000000000001"), Decimal("1e-7"), 5]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs",)), max_size=8), children, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values, st.booleans())
def test_what_is_json_comes_back_unchanged(value: object, ascii_only: bool) -> None:
    assert strict_json.parse(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_json_or_a_problem(body: bytes) -> None:
    problem = None
    try:
        strict_json.parse(body)
    except ProblemError as error:
        problem = error.problem
    assert problem is None or problem.code is ProblemCode.NOT_JSON


def test_time_is_linear() -> None:
    """Four times the hostile body takes about four times the processor's time. The collector is held: its cost grows
    with whatever else the test run keeps in memory."""

    def best_s(body: bytes) -> float:
        times: list[float] = []
        for _ in range(5):
            began = time.process_time()
            strict_json.parse(body)
            times.append(time.process_time() - began)
        return min(times)

    makers: tuple[Callable[[int], bytes], ...] = (
        lambda n: b"[" + b",".join([b'{"k":[[[["\\ud83d\\ude00"]]]]}'] * n) + b"]",
        lambda n: b"{" + b",".join(b'"k%d":{"a":1}' % i for i in range(n)) + b"}",
    )
    gc.disable()
    try:
        for make in makers:
            assert best_s(make(20_000)) < 8 * best_s(make(5_000))
    finally:
        gc.enable()
