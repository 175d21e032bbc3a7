"""A fail mode for each kind of event, and what the last denials decide while nobody answers."""

from pathlib import Path
from typing import Any

import pytest

from hookbus.client.adapters.base import KINDS
from hookbus.client.denials import BUDGET_KEPT_S, ENTRIES_MAX, KEPT_S, Denials
from hookbus.client.failing import FailModes
from hookbus.client.gateway import Decision


@pytest.mark.parametrize(
    ("text", "pre_task", "prompt", "usage"),
    [
        ("", "open", "open", "open"),
        ("closed", "closed", "closed", "closed"),
        (" Closed ", "closed", "closed", "closed"),
        ("cached", "cached", "open", "open"),
        ("pre-task=cached,prompt=closed", "cached", "closed", "open"),
        ("closed usage=open", "closed", "closed", "open"),
        ("prompt=closed,open", "open", "open", "open"),
        ("pre-task=open,pre-task=closed", "closed", "open", "open"),
    ],
)
def test_a_setting_is_read(text: str, pre_task: str, prompt: str, usage: str) -> None:
    modes = FailModes(text)
    assert modes.fault is None
    assert (modes.of("pre-task"), modes.of("prompt"), modes.of("usage")) == (pre_task, prompt, usage)
    again = FailModes(modes.text)
    assert [again.of(kind) for kind in sorted(KINDS)] == [modes.of(kind) for kind in sorted(KINDS)]


@pytest.mark.parametrize(
    "text", ["shut", "pre-task=", "=closed", "pre-task=shut", "moon=closed", "open,shut", "a=b=open"]
)
def test_what_is_not_understood_closes_everything_and_is_a_fault(text: str) -> None:
    modes = FailModes(text)
    assert modes.fault is not None
    assert "HOOKBUS_FAIL_MODE" in modes.fault
    assert {modes.of(kind) for kind in KINDS} == {"closed"}


def pre_task(agent: str = "a", session: str | None = "s", command: str = "rm") -> dict[str, Any]:
    data = {"tool": "Bash", "tool_input": {"command": command}}
    return {"agent_id": agent, "data": data} | ({"session": session} if session is not None else {})


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1_795_435_200.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def denials(tmp_path: Path, clock: Clock) -> Denials:
    return Denials(str(tmp_path / "data"), clock)


@pytest.mark.parametrize(
    ("code", "falls_under", "goes_on"),
    [
        (
            "session_terminated",
            [pre_task(), pre_task(command="ls")],
            [pre_task(session="other"), pre_task(session=None)],
        ),
        (
            "tokens_exhausted",
            [pre_task(), pre_task(command="ls", session="other"), pre_task(session=None)],
            [pre_task(agent="b")],
        ),
        ("cost_exhausted", [pre_task(command="ls")], [pre_task(agent="b")]),
        (
            "command_refused",
            [pre_task(), pre_task(session="other")],
            [pre_task(command="ls"), pre_task(agent="b")],
        ),
    ],
)
def test_a_denial_stands_for_what_it_was_about_and_nothing_else(
    denials: Denials, code: str, falls_under: list[dict[str, Any]], goes_on: list[dict[str, Any]]
) -> None:
    denials.note(pre_task(), Decision("deny", "because", code))
    assert [denials.of(event) for event in falls_under] == [(code, "because")] * len(falls_under)
    assert [denials.of(event) for event in goes_on] == [None] * len(goes_on)


@pytest.mark.parametrize(("code", "kept_s"), [("command_refused", KEPT_S), ("tokens_exhausted", BUDGET_KEPT_S)])
def test_a_denial_is_forgotten_in_time(denials: Denials, clock: Clock, code: str, kept_s: float) -> None:
    denials.note(pre_task(), Decision("deny", "because", code))
    clock.now_s += kept_s - 1
    assert denials.of(pre_task()) is not None
    clock.now_s += 2
    assert denials.of(pre_task()) is None


@pytest.mark.parametrize("code", ["session_terminated", "tokens_exhausted", "command_refused"])
def test_an_allow_forgets_what_it_contradicts_and_a_question_nothing(denials: Denials, code: str) -> None:
    denials.note(pre_task(), Decision("deny", "because", code))
    denials.note(pre_task(), Decision("ask", "sure?", "session_risk"))
    assert denials.of(pre_task()) is not None
    denials.note(pre_task(), Decision("allow", "fine", "ok"))
    assert denials.of(pre_task()) is None


def test_only_the_last_are_kept(denials: Denials) -> None:
    for number in range(ENTRIES_MAX + 1):
        denials.note(pre_task(command=str(number)), Decision("deny", "because", "command_refused"))
    assert denials.of(pre_task(command="0")) is None
    assert denials.of(pre_task(command="1")) is not None


@pytest.mark.parametrize("content", [b"", b"\xff", b"[]", b"{", b'{"session:s": 7}', b'{"session:s": ["x", "y", "z"]}'])
def test_a_damaged_file_knows_nothing_and_is_written_anew(denials: Denials, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "denials.json").write_bytes(content)
    assert denials.of(pre_task()) is None
    denials.note(pre_task(), Decision("deny", "because", "command_refused"))
    assert denials.of(pre_task()) == ("command_refused", "because")
