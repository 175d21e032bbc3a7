"""Ids and names are legal on the wire, whatever they are made from."""

import uuid

import pytest

from hookbus.client import identity


def test_event_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    made = [uuid.UUID(identity.event_id()) for _ in range(100)]
    assert {item.version for item in made} == {7}
    assert {item.variant for item in made} == {uuid.RFC_4122}
    assert len(set(made)) == 100
    assert [item.int >> 80 for item in made] == sorted(item.int >> 80 for item in made)


@pytest.mark.parametrize("text", ["agent\n", "", "a b", "a.b", "a" * 65, "é", "a\x00"])
def test_an_agent_id_is_legal_to_the_last_character(text: str) -> None:
    assert not identity.is_agent_id(text)


def test_an_illegal_identifier_becomes_a_legal_one_and_stays_distinct() -> None:
    first, second = identity.identifier("a b"), identity.identifier("a c\ud800")
    assert identity.is_identifier(first)
    assert identity.is_identifier(second)
    assert first != second
    assert identity.identifier("a b") == first
    assert identity.identifier("toolu_01:x") == "toolu_01:x"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "A" * 32 + "-" + "1" * 16 + "-01",
        "01-" + "a" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "a" * 32 + "-" + "1" * 16 + "-01\n",
    ],
)
def test_a_broken_trace_context_is_replaced(text: str) -> None:
    made = identity.traceparent({"TRACEPARENT": text})
    assert made != text
    assert identity.is_traceparent(made)


def test_the_own_trace_variable_goes_before_the_common_one() -> None:
    own, common = ("00-" + letter * 32 + "-" + letter * 16 + "-01" for letter in "ab")
    assert identity.traceparent({"HOOKBUS_TRACEPARENT": own, "TRACEPARENT": common})[:35] == own[:35]
    assert identity.traceparent({"TRACEPARENT": common})[:35] == common[:35]


def test_a_hook_is_a_span_of_its_own_under_the_one_it_was_given() -> None:
    given = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    own = identity.traceparent({"TRACEPARENT": given})
    assert identity.is_traceparent(own)
    assert own[36:52] != given[36:52]
    assert identity.tracestate({"TRACEPARENT": given}) == "hookbus=" + "b" * 16
    assert identity.tracestate({}) == "hookbus=" + "0" * 16


def test_time_is_utc_with_milliseconds() -> None:
    assert identity.time_text(1_700_000_000.25) == "2023-11-14T22:13:20.250Z"


def test_a_project_name_is_brought_to_the_alphabet_of_the_wire() -> None:
    assert identity.scope_name("My Project") == "My-Project"
    assert identity.scope_name("///") is None
