"""Events read, keys minted, cursors, terminals."""

import hashlib
import os
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from hookbus.contracts.events import Event, Kind, type_of_kind, type_of_security
from hookbus.contracts.problems import ProblemError
from hookbus.contracts.session import API_KEY_PATTERN, KeyScope
from hookbus.session.domain import cursor, keys, terminals
from hookbus.session.domain.observe import UnreadablePayloadError, read_hook, read_security

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def event(kind: Kind, data: dict[str, JsonValue] | None = None, **attributes: object) -> Event:
    fields: dict[str, object] = {
        "id": "e1",
        "source": "test",
        "subject": "agent",
        "time": NOW,
        "session": "s1",
    } | attributes
    return Event.model_validate({"type": type_of_kind(kind), "data": data or {}} | fields)


def test_a_clock_that_runs_ahead_is_held_at_now() -> None:
    reading = read_hook(event(Kind.PROMPT, time=NOW + timedelta(days=900)), NOW)
    assert reading.session is not None
    assert reading.session.at == NOW


def test_an_event_without_a_session_concerns_nothing() -> None:
    assert read_hook(event(Kind.PROMPT, session=None), NOW).concerns_nothing


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (Kind.TERMINAL_OUTPUT, {"text": "no terminal"}),
        (Kind.SESSION_START, {"fingerprint": "x"}),
        (Kind.PRE_TASK, {"estimated_tokens": -1}),
    ],
)
def test_data_that_never_fits_is_unreadable(kind: Kind, data: dict[str, JsonValue] | None) -> None:
    with pytest.raises(UnreadablePayloadError):
        read_hook(event(kind, data), NOW)


def test_a_strange_fingerprint_on_an_open_kind_says_nothing() -> None:
    reading = read_hook(event(Kind.PROMPT, {"fingerprint": ["x"]}), NOW)
    assert reading.session is not None
    assert reading.session.seen.host is None


@pytest.mark.parametrize(
    ("code", "counts"),
    [("path_outside_workspace", True), ("command_refused", True), ("input_refused", True)]
    + [(code, False) for code in ("tokens_exhausted", "session_terminated", "session_risk", "key_created")],
)
def test_only_refused_inputs_count_against_a_session(code: str, counts: bool) -> None:
    """A denial for the budget or for the risk itself would feed the risk."""
    reading = read_security(event(Kind.PROMPT, type=type_of_security(code)), NOW)
    assert (reading.session is not None) is counts


def test_a_key_has_its_form_and_only_its_hash_is_kept() -> None:
    stored, api_key = keys.mint(
        name="ci", scopes=frozenset({KeyScope.EVENTS}), ttl_s=60, now=NOW, random_bytes=os.urandom
    )
    assert re.fullmatch(API_KEY_PATTERN, api_key)
    assert stored.secret_sha256 == hashlib.sha256(api_key.encode()).hexdigest()
    assert stored.expires_at == NOW + timedelta(seconds=60)
    assert api_key not in repr(stored)


@given(st.datetimes(timezones=st.just(UTC)), st.from_regex(r"[a-zA-Z0-9._:-]{1,128}", fullmatch=True))
def test_a_cursor_comes_back(at: datetime, name: str) -> None:
    assert cursor.decode(cursor.encode(at, name)) == (at, name)


@pytest.mark.parametrize("text", ["", "x", "....", "aGVsbG8=", "é", "A" * 600, "MjAyNi0wMS0wMX5h"])
def test_a_foreign_cursor_is_a_problem(text: str) -> None:
    with pytest.raises(ProblemError):
        cursor.decode(text)


def test_terminal_output_is_kept_up_to_its_bound() -> None:
    reading = read_hook(event(Kind.TERMINAL_OUTPUT, {"terminal_id": "t", "text": "a\x00é"}), NOW)
    change = reading.terminal
    assert change is not None
    terminal, output = terminals.changed(terminals.opened(change), change)
    assert output is not None
    assert (output.text, terminal.output_bytes) == ("a�é", 6)
    size = len(output.text.encode())
    while not terminal.truncated:
        terminal, output = terminals.changed(terminal, change)
    assert output is None
    assert terminals.TERMINAL_OUTPUT_BYTES_MAX - size < terminal.output_bytes <= terminals.TERMINAL_OUTPUT_BYTES_MAX
