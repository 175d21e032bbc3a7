"""The circuit breaker between hooks, and the memory of the last denials."""

from pathlib import Path
from typing import Any

import pytest

from hookbus.client import breaker as breaker_module
from hookbus.client.breaker import OPEN_BASE_S, OPEN_MAX_S, TRIAL_S, Breaker
from hookbus.client.denials import BUDGET_KEPT_S, ENTRIES_MAX, KEPT_S, Denials
from hookbus.client.gateway import Decision


class Clock:
    """A time that the test moves."""

    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def hook(folder: Path, clock: Clock, *, answers: bool, endpoint: str = "h:1") -> float:
    """One hook in a process of its own; how long it was told to wait."""
    one = Breaker(str(folder / "data"), endpoint, clock)
    wait_s = one.wait_s()
    if wait_s == 0.0:
        if answers:
            one.answered()
        else:
            one.failed()
    return wait_s


def test_after_two_failures_the_next_hooks_do_not_ask(tmp_path: Path, clock: Clock) -> None:
    assert [hook(tmp_path, clock, answers=False) for _ in range(3)] == [0.0, 0.0, OPEN_BASE_S]
    assert hook(tmp_path, clock, answers=False, endpoint="other:1") == 0.0


def test_one_asks_again_while_the_others_wait_and_an_answer_ends_it(tmp_path: Path, clock: Clock) -> None:
    for _ in range(2):
        hook(tmp_path, clock, answers=False)
    clock.now_s += OPEN_BASE_S
    asking = Breaker(str(tmp_path / "data"), "h:1", clock)
    assert asking.wait_s() == 0.0
    assert hook(tmp_path, clock, answers=True) == pytest.approx(TRIAL_S)
    asking.failed()
    assert hook(tmp_path, clock, answers=True) == pytest.approx(OPEN_BASE_S * 2)
    clock.now_s += OPEN_BASE_S * 2
    assert hook(tmp_path, clock, answers=True) == 0.0
    assert not (tmp_path / "data" / breaker_module.FILE).exists()
    assert hook(tmp_path, clock, answers=False) == 0.0


def test_the_wait_is_bounded_also_where_the_clock_was_set_back(tmp_path: Path, clock: Clock) -> None:
    for _ in range(40):
        hook(tmp_path, clock, answers=False)
        clock.now_s += OPEN_MAX_S
    clock.now_s -= 10_000
    assert hook(tmp_path, clock, answers=False) == 0.0


@pytest.mark.parametrize("content", [b"", b"1 h:1 x y", b"1 h:1 5 nan", b"\xff" * 2_000, b"1 h:1 5", b"2 h:1 5 9e9"])
def test_a_damaged_file_stops_nobody(tmp_path: Path, clock: Clock, content: bytes) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / breaker_module.FILE).write_bytes(content)
    assert hook(tmp_path, clock, answers=False) == 0.0


def event(command: str = "ls", session: str = "s", agent: str = "a") -> dict[str, Any]:
    return {"agent_id": agent, "session": session, "data": {"tool": "Bash", "tool_input": {"command": command}}}


def deny(code: str) -> Decision:
    return Decision("deny", "because", code)


def test_what_a_denial_covers(tmp_path: Path, clock: Clock) -> None:
    known = Denials(str(tmp_path), clock)
    known.note(event("rm"), deny("command_refused"))
    assert known.of(event("rm", session="other")) == ("command_refused", "because")
    assert known.of(event("ls")) is None
    known.note(event(session="killed"), deny("session_terminated"))
    assert known.of(event("anything", session="killed")) == ("session_terminated", "because")
    known.note(event(agent="poor"), deny("tokens_exhausted"))
    assert known.of(event("anything", agent="poor", session="x")) == ("tokens_exhausted", "because")
    clock.now_s += BUDGET_KEPT_S
    assert known.of(event(agent="poor", session="x")) is None
    clock.now_s += KEPT_S
    assert known.of(event("rm")) is None


def test_an_allow_forgets_what_it_contradicts(tmp_path: Path, clock: Clock) -> None:
    known = Denials(str(tmp_path), clock)
    known.note(event(session="killed"), deny("session_terminated"))
    known.note(event("rm"), deny("command_refused"))
    known.note(event(session="killed"), Decision("allow", "revived", "ok"))
    assert known.of(event(session="killed")) is None
    assert known.of(event("rm")) is not None


def test_the_memory_is_bounded_and_a_damaged_one_is_empty(tmp_path: Path, clock: Clock) -> None:
    known = Denials(str(tmp_path), clock)
    for number in range(ENTRIES_MAX + 10):
        known.note(event(f"rm {number}"), deny("command_refused"))
    assert known.of(event("rm 0")) is None
    assert known.of(event(f"rm {ENTRIES_MAX + 9}")) is not None
    (tmp_path / "denials.json").write_text("[", encoding="utf-8")
    assert known.of(event("rm 9")) is None
