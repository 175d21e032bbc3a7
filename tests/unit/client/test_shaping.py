"""Whatever an agent sends fits the wire, and what was cut is named."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hookbus.client.adapters.shaping import (
    DECIDING_NAMES,
    DEPTH_MAX,
    EVENT_BYTES_TARGET,
    TRUNCATED_NAMES_MAX,
    conform,
    shape,
    unseen_names,
)
from hookbus.client.compactjson import as_list, as_object, dumps
from hookbus.contracts import limits
from hookbus.contracts.payloads import PostTask, PreTask

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=15,
)
KNOWN = ("operation_id", "tool", "tool_input", "cwd", "description", "status", "tokens_used", "cost", "fingerprint")


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def depth_of(value: object) -> int:
    mapping, sequence = as_object(value), as_list(value)
    if mapping is None and sequence is None:
        return 0
    return 1 + max(map(depth_of, mapping.values() if mapping is not None else sequence or []), default=0)


@given(st.dictionaries(st.sampled_from(KNOWN) | st.text(), VALUES))
@example({"tool": "\x00", "status": "a\x00", "description": "\x00", "cwd": "/\x00"})
@settings(max_examples=200)
def test_any_payload_fits_the_models_of_the_wire(data: dict[str, Any]) -> None:
    shaped = shape(data, to_decide=True)
    encoded = dumps(shaped)
    assert json.loads(encoded.decode().encode("utf-8")) == shaped
    PreTask.model_validate(shaped)
    PostTask.model_validate(shaped)


@pytest.mark.parametrize(
    "data",
    [
        {"tool_response": "x" * 10_000_000},
        {"tool_response": "\u4e2d" * 3_000_000},
        {"tool_response": ["y" * 1_000] * 10_000},
        {"tool_response": list(range(2_000_000))},
        {f"key{number}": "z" * 300 for number in range(20_000)},
        {f"{number:0250}": 1 for number in range(4_000)},
        {"k" * 1_000_000: 1},
    ],
)
def test_ten_megabytes_become_less_than_an_event_and_say_so(data: dict[str, Any]) -> None:
    shaped = shape(dict(data), to_decide=False)
    assert len(dumps(shaped)) <= EVENT_BYTES_TARGET < limits.EVENT_BYTES_MAX
    assert shaped["truncated"]


def test_nesting_is_cut_below_the_bound_of_the_wire() -> None:
    shaped = shape({"tool_response": nested(200)}, to_decide=False)
    assert depth_of(shaped) <= DEPTH_MAX + 1 <= limits.JSON_DEPTH_MAX
    assert shaped["truncated"] == ["tool_response"]


def test_what_a_decision_depends_on_is_reported_when_it_was_cut() -> None:
    cut_command = shape({"tool_input": {"command": "x" * 300_000}}, to_decide=True)
    cut_content = shape({"tool_input": {"file_path": "/a", "content": "x" * 300_000}}, to_decide=True)
    assert unseen_names(cut_command) == ["command"]
    assert unseen_names(cut_content) == []
    assert cut_content["truncated"] == ["content"]


@pytest.mark.parametrize("name", sorted(DECIDING_NAMES))
def test_a_cut_on_which_a_decision_depends_is_named_behind_any_number_of_others(name: str) -> None:
    cut_before = {f"a{number}": nested(DEPTH_MAX + 1) for number in range(100)}
    shaped = shape({"tool_input": {**cut_before, name: "x" * 160_100}}, to_decide=True)
    assert unseen_names(shaped) == [name]
    assert len(shaped["truncated"]) == TRUNCATED_NAMES_MAX + 1


def test_an_input_that_is_left_out_behind_many_larger_fields_is_named() -> None:
    larger = {f"a{number}": ["x" * 350] * 24 for number in range(TRUNCATED_NAMES_MAX + 4)}
    smaller = {f"b{number}": ["x" * 350] * 14 for number in range(40)}
    shaped = shape({**larger, **smaller, "tool_input": {"command": ["x" * 350] * 19}}, to_decide=True)
    assert shaped["tool_input"] == {"left_out": True}
    assert unseen_names(shaped) == ["tool_input"]


def test_the_names_of_what_was_cut_are_never_left_out_themselves() -> None:
    cut = {f"{number:0128}": nested(DEPTH_MAX + 1) for number in range(TRUNCATED_NAMES_MAX)}
    many = {f"a{number}": "x" * 390 for number in range(800)}
    shaped = shape({**cut, **many, "tool_input": {"command": nested(DEPTH_MAX)}}, to_decide=True)
    assert unseen_names(shaped) == ["command"]


@pytest.mark.parametrize(("fields", "value"), [(5_000, "z" * 60), (1_200, 1)])
def test_an_event_whose_fields_are_too_many_is_named_as_a_whole(fields: int, value: Any) -> None:
    many = {f"{number:0250}": value for number in range(fields)}
    shaped = shape({**many, "tool": "Bash", "tool_input": {"command": "rm -rf /"}}, to_decide=True)
    assert "tool_input" not in shaped
    assert "data" in unseen_names(shaped)


def test_prototype_keys_stay_for_a_decision_and_are_bracketed_in_a_record() -> None:
    data = {"tool_input": {"__proto__": 1, "constructor": 2}}
    assert shape(data, to_decide=True)["tool_input"] == {"__proto__": 1, "constructor": 2}
    assert shape(data, to_decide=False)["tool_input"] == {"[__proto__]": 1, "[constructor]": 2}


def test_known_fields_get_their_types_and_the_rest_is_kept_beside_them() -> None:
    assert conform({"operation_id": "a b", "tokens_used": -1, "cost": 0.1, "tool_input": "ls"}) == {
        "operation_id": conform({"operation_id": "a b"})["operation_id"],
        "raw_operation_id": "a b",
        "raw_tokens_used": -1,
        "cost": "0.100000",
        "tool_input": {"value": "ls"},
    }
    assert conform({"cost": 1e-7})["cost"] == "0.000000"
    assert conform({"cost": "0.1234567"}) == {"raw_cost": "0.1234567"}


def test_lone_surrogates_become_legal_text() -> None:
    assert shape({"prompt": "a\ud800b"}, to_decide=False)["prompt"] == "a?b"


@pytest.mark.parametrize("said", [5, ["command"], None, {"a": 1}])
def test_the_agent_cannot_speak_in_the_name_of_the_shaper(said: Any) -> None:
    shaped = shape({"truncated": said, "tool_input": {"command": "ls"}}, to_decide=True)
    assert unseen_names(shaped) == []
    assert shaped["raw_truncated"] == said
