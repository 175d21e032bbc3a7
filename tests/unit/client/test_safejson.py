"""Arbitrary objects as JSON: nothing raises, a cycle is cut, a repeated reference is no cycle."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import pytest

from hookbus.client.safejson import CYCLE, DEPTH_MAX, NODES_MAX, TOO_DEEP, TOO_MANY, jsonable


class Colour(str, Enum):  # noqa: UP042 - a text that is an enumeration too, as older code has it
    RED = "red"


class Number(IntEnum):
    ONE = 1


@dataclass
class Point:
    x: int
    y: Any


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("planted")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (Number.ONE, 1),
        (Colour.RED, "red"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"\x00\xff", "AP8="),
        (Decimal("0.10"), "0.10"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (Path("/a"), "/a"),
        ({2, 1}, [1, 2]),
        ((1, [2]), [1, [2]]),
        (Point(1, Point(2, None)), {"x": 1, "y": {"x": 2, "y": None}}),
        ({1: "a", None: "b", ("c",): "d"}, {"1": "a", "None": "b", "('c',)": "d"}),
        ({"__proto__": {"a": 1}}, {"__proto__": {"a": 1}}),
        (Hostile(), "[Hostile]"),
    ],
)
def test_each_kind_of_value(value: object, expected: object) -> None:
    made = jsonable(value)
    assert made == expected
    json.dumps(made, allow_nan=False)


def test_a_cycle_is_cut_and_a_repeated_reference_stands_twice() -> None:
    shared = {"a": 1}
    ring: dict[str, Any] = {"first": shared, "second": shared}
    ring["self"] = [ring]
    assert jsonable(ring) == {"first": {"a": 1}, "second": {"a": 1}, "self": [CYCLE]}


def test_depth_and_size_are_bounded() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    made = jsonable(deep)
    for _ in range(DEPTH_MAX):
        made = made[0]
    assert made == TOO_DEEP
    wide = jsonable([0] * (NODES_MAX * 2))
    assert len(wide) <= NODES_MAX
    assert wide[-1] == TOO_MANY
