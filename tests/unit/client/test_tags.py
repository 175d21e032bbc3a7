"""The tagging protocol, nested and flat, becomes the event's attributes, and hostile forms become nothing."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hookbus.client import adapters
from hookbus.client.adapters.base import Context
from hookbus.client.tags import CATEGORIES, INTENTS, TAG_CHARS_MAX, Tags, tag
from hookbus.contracts.events import ShortEvent

GENERIC = adapters.load("generic")
NESTED: dict[str, Any] = {
    "agent": {"name": "coder", "category": "testing", "capabilities": ["pytest"]},
    "timestamp": {"iso": "2026-11-23T12:00:00.250Z", "unix": 1_795_435_200, "readable": "today at noon"},
    "project": "atlas",
    "intent": {"primary": "bugfix", "description": "mend the parser", "task_id": "t-7"},
}
UNDERSCORES = {
    "agent_name": "coder",
    "agent_category": "testing",
    "timestamp_iso": "2026-11-23T12:00:00.250Z",
    "project": "atlas",
    "intent_primary": "bugfix",
    "intent_description": "mend the parser",
    "intent_task_id": "t-7",
}
FORMS: dict[str, dict[str, Any]] = {
    "nested": NESTED,
    "underscores": UNDERSCORES,
    "dots": {name.replace("_", ".", 1): value for name, value in UNDERSCORES.items()},
    "camel case": {
        "agentName": "coder",
        "agentCategory": "testing",
        "timestamp": "2026-11-23T12:00:00.250Z",
        "projectName": "atlas",
        "intentPrimary": "bugfix",
        "intentDescription": "mend the parser",
        "intentTaskId": "t-7",
    },
    "plain intent": {**UNDERSCORES, "intent_primary": None, "intent": "bugfix"},
    "in tags": {"tags": NESTED},
    "in metadata": {"metadata": UNDERSCORES},
    "mixed": {"agent": NESTED["agent"], "tags": UNDERSCORES},
    "other spellings": {
        **NESTED,
        "agent": {"name": "coder", "category": "Testing"},
        "intent": {**NESTED["intent"], "primary": " BugFix "},
    },
}


def translated(context: Context, payload: dict[str, Any], kind: str = "pre-task") -> dict[str, Any]:
    translation = GENERIC.translate(payload, context, kind=kind)
    event = translation.pre_task or translation.records[0]
    ShortEvent.model_validate({**event, "time": None})
    return event


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str, context: Context) -> None:
    event = translated(context, FORMS[form])
    assert (event["agent_id"], event["agent_category"], event["project"], event["intent"], event["time"]) == (
        "coder",
        "testing",
        "atlas",
        "bugfix",
        "2026-11-23T12:00:00.250Z",
    )
    assert (event["data"]["operation_id"], event["data"]["description"]) == ("t-7", "mend the parser")


@pytest.mark.parametrize("word", [*CATEGORIES, *INTENTS])
def test_the_protocols_own_words_stay_as_they_are(word: str) -> None:
    assert tag(word) == word


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Code Quality", "code-quality"),
        ("feature_implementation", "feature-implementation"),
        ("  security/fix ", "security-fix"),
        ("bug\nfix\x00\x1b[31m", "bug-fix-31m"),
        ("Qualität", "qualität"),
        ("v1.2", "v1.2"),
        ("x" * 100, "x" * TAG_CHARS_MAX),
        ("x" * 10_000, None),
        ("\ud800", None),
        ("--- ", None),
        ("", None),
        (7, None),
        (True, None),
        (["bugfix"], None),
        ({"primary": "bugfix"}, None),
    ],
)
def test_a_word_is_brought_into_one_spelling_or_is_none(sent: object, kept: str | None) -> None:
    assert tag(sent) == kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"unix": 1_795_435_200}, "2026-11-23T12:00:00.000Z"),
        ({"unix": 1_795_435_200_250}, "2026-11-23T12:00:00.250Z"),
        ({"unix": 1_795_435_200.5}, "2026-11-23T12:00:00.500Z"),
        (1_795_435_200, "2026-11-23T12:00:00.000Z"),
        ("2026-11-23T14:00:00+02:00", "2026-11-23T12:00:00.000Z"),
        ("2026-11-23T12:00:00", "2026-11-23T12:00:00.000Z"),
        ({"iso": "nonsense", "unix": 1_795_435_200}, "2026-11-23T12:00:00.000Z"),
        ("2026-02-30T00:00:00Z", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("1970-01-01T00:00:00Z", None),
        ({"unix": -1}, None),
        ({"unix": 10**40}, None),
        ({"unix": math.inf}, None),
        ({"unix": math.nan}, None),
        ({"unix": True}, None),
        ({"readable": "yesterday"}, None),
        ([1_795_435_200], None),
    ],
)
def test_when_is_read_or_says_nothing(sent: object, kept: str | None) -> None:
    assert Tags({"timestamp": sent}).time == kept


HOSTILE: list[dict[str, Any]] = [
    {"agent": [], "intent": 7, "timestamp": [], "project": {}},
    {"agent": {"category": {"category": "x"}}, "intent": {"primary": ["bugfix"]}, "project": {"name": ["p"]}},
    {"agent": {"__proto__": {"category": "x"}}, "constructor": {"intent": "x"}},
    {"tags": [NESTED], "metadata": "agent"},
    {"tags": {"tags": NESTED}},
    {"intent": "x" * 100_000, "agent_category": "\x00" * 300},
]


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_forms_say_nothing_and_still_make_a_legal_event(payload: dict[str, Any], context: Context) -> None:
    assert Tags(payload).attributes() == {}
    event = translated(context, payload, "notification")
    assert not {"agent_category", "intent", "project"} & event.keys()


def test_what_is_configured_goes_before_what_a_payload_says(context: Context) -> None:
    context.agent_id, context.project = "configured", "own"
    event = translated(context, NESTED)
    assert (event["agent_id"], event["project"]) == ("configured", "own")


def test_the_data_keeps_what_was_sent(context: Context) -> None:
    data = translated(context, NESTED)["data"]
    assert (data["agent"], data["intent"], data["timestamp"]) == (
        NESTED["agent"],
        NESTED["intent"],
        NESTED["timestamp"],
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*NESTED, "name", "iso"]), inner),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from([*NESTED, *UNDERSCORES, "tags", "metadata"]), JSON))
def test_no_payload_makes_an_illegal_attribute(payload: dict[str, Any]) -> None:
    short = {"kind": "notification", "agent_id": "a", **Tags(payload).attributes()}
    ShortEvent.model_validate_json(json.dumps(short))
