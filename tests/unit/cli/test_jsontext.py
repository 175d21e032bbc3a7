"""Edits of a JSON text touch nothing but what they add or take."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hookbus.cli.install import jsontext
from hookbus.cli.install.jsontext import JsonTextError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
COMMENTED = """// mine
{
\t/* first */ "a": [1, 2 /* two */, ], // list
\t"b": {"c": "// no comment", "d": {}},
}
"""


@given(VALUES, st.sampled_from([None, 1, 2, 4, "\t"]), st.booleans())
def test_a_text_is_read_as_the_library_reads_it(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert jsontext.parse(text).value == value


def test_comments_and_trailing_commas_are_allowed_for() -> None:
    node = jsontext.parse(COMMENTED)
    assert node.value == {"a": [1, 2], "b": {"c": "// no comment", "d": {}}}


@pytest.mark.parametrize(
    "text", ["", "{", '{"a"}', '{"a":1 "b":2}', "[1", "nul", "{'a':1}", '{"a":1,"a":2}', "{} x", "[" * 99, '"\\x"']
)
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(JsonTextError):
        jsontext.parse(text)


@given(
    st.dictionaries(st.text(max_size=5), VALUES, min_size=1, max_size=4),
    VALUES,
    st.sampled_from([None, 1, 2, 4, "\t"]),
)
def test_adding_to_what_holds_something_and_taking_it_away_is_the_identity(
    value: dict[str, Any], added: Any, indent: Any
) -> None:
    text = json.dumps(value, indent=indent)
    longer = jsontext.append(text, jsontext.parse(text), added, key="new key")
    node = jsontext.parse(longer)
    assert node.value == {**value, "new key": added}
    assert jsontext.remove(longer, node, len(node.items) - 1) == text


@given(st.lists(VALUES, min_size=1, max_size=4), st.sampled_from([None, 2, "\t"]), st.integers(0, 3))
def test_taking_one_item_away_leaves_the_others(values: list[Any], indent: Any, index: int) -> None:
    index %= len(values)
    text = json.dumps(values, indent=indent)
    shorter = jsontext.remove(text, jsontext.parse(text), index)
    assert jsontext.parse(shorter).value == values[:index] + values[index + 1 :]
    assert json.loads(shorter) == values[:index] + values[index + 1 :]


def test_comments_around_stay() -> None:
    node = jsontext.parse(COMMENTED)
    longer = jsontext.append(COMMENTED, node, {"x": 1}, key="e")
    for comment in ("// mine", "/* first */", "/* two */", "// list"):
        assert comment in longer
    again = jsontext.parse(longer)
    assert again.value["e"] == {"x": 1}
    assert jsontext.remove(longer, again, again.keys.index("e")) == COMMENTED


def test_an_empty_container_takes_its_first_item() -> None:
    for text in ("{}", "{ }", "{\n}", '{"a": 1}'):
        assert jsontext.parse(jsontext.append(text, jsontext.parse(text), [1], key="k")).value["k"] == [1]


COMMENTS = [" // one\n", "/* two */", "\n  // three\n  ", " /* four */ // five\n"]
GAPS = st.sampled_from(["", " ", "\n  ", "\r\n\t", *COMMENTS])


@given(st.data(), st.integers(1, 4), st.booleans(), st.booleans())
def test_taking_one_item_away_leaves_the_others_and_every_comment(
    data: st.DataObject, count: int, in_object: bool, trailing: bool
) -> None:
    """A comment that the text after it was pulled up to would swallow that text."""
    gaps = [(data.draw(GAPS), data.draw(GAPS)) for _ in range(count)]
    last = data.draw(GAPS)
    names = [f'"k{number}": ' if in_object else "" for number in range(count)]
    items = [f"{before}{names[number]}{number}{after}" for number, (before, after) in enumerate(gaps)]
    begin, end = "{}" if in_object else "[]"
    text = begin + ",".join(items) + ("," if trailing else "") + last + end
    index = data.draw(st.integers(0, count - 1))
    node = jsontext.parse(text)
    shorter = jsontext.remove(text, node, index)
    left = [number for number in range(count) if number != index]
    assert jsontext.parse(shorter).value == ({f"k{number}": number for number in left} if in_object else left)
    for word in ("one", "two", "three", "four", "five"):
        assert shorter.count(word) == text.count(word)
