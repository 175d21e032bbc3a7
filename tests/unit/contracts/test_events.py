"""The event envelope: what it accepts, what it refuses, and that it travels unchanged."""

import pytest
from pydantic import ValidationError

from hookbus.contracts.events import Event, Kind, ShortEvent, type_of_kind, type_of_security
from hookbus.contracts.subjects import hook_subject

VALID = {
    "specversion": "1.0",
    "id": "01890a5d-ac96-774b-bcce-b302099a8057",
    "source": "tests",
    "type": "dev.hookbus.pre-task.v1",
    "subject": "agent-1",
    "time": "2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize("agent_id", ["", "agent\n", "a" * 65, "a b", "a.b", "a*", "agent>", "ägent", "a/b", None, 7])
def test_an_agent_id_that_does_not_match_to_its_last_character_is_refused(agent_id: object) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate({**VALID, "subject": agent_id})
    with pytest.raises(ValidationError):
        ShortEvent.model_validate({"kind": "prompt", "agent_id": agent_id})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "x" * 129),
        ("id", "with space"),
        ("id", "line\nbreak"),
        ("specversion", "0.3"),
        ("time", "2026-01-02T03:04:05"),
        ("time", "yesterday"),
        ("time", "0001-01-01T00:00:00+01:00"),
        ("time", "9999-12-31T23:59:59-01:00"),
        ("traceparent", "00-short-01"),
        ("type", "com.example.other"),
        ("Extension", "upper case name"),
        ("extension_", "underscore"),
        ("nested", {"a": 1}),
        ("long", "x" * 1_025),
        ("data", [1, 2]),
    ],
)
def test_a_broken_attribute_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Event.model_validate({**VALID, name: value})


def test_unknown_extension_attributes_travel_with_the_event() -> None:
    event = Event.model_validate({**VALID, "extension": "kept", "data": {"any": ["thing", None]}})
    assert Event.model_validate_json(event.to_wire()) == event
    assert b'"extension":"kept"' in event.to_wire()


def test_kind_and_security_code_are_read_from_the_type() -> None:
    hook = Event.model_validate(VALID)
    assert (hook.kind, hook.security_code) == (Kind.PRE_TASK, None)
    security = Event.model_validate({**VALID, "type": type_of_security("session_killed")})
    assert (security.kind, security.security_code) == (None, "session_killed")


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_has_a_type_and_a_subject_of_three_tokens(kind: Kind) -> None:
    assert Event.model_validate({**VALID, "type": type_of_kind(kind)}).kind is kind
    assert hook_subject(kind, "agent-1").split(".") == ["hooks", kind, "agent-1"]
