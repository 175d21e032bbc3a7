"""The demo judges by what it really saw: each promise that is not kept makes it fail."""

from dataclasses import replace

import pytest

from hookbus.cli.demo import recording, report
from hookbus.cli.demo.player import NO_OBJECTION, RUNAWAY, Played, read_answer

PLACEHOLDERS = {"session": "s", "run": "r", "workspace": '/w"\\', "home": "/h"}
DENY = (
    '{"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "deny",'
    ' "permissionDecisionReason": "hookbus: no more [tokens_exhausted]"}}'
)


def ideal() -> list[Played]:
    """Every hook answers as the recording names; the runaway is denied in its third round."""
    played: list[Played] = []
    rounds = 0
    for step in recording.load(PLACEHOLDERS):
        if step.do != "hook" or (step.group == RUNAWAY and rounds == 3):
            continue
        decision, code = NO_OBJECTION, None
        if step.expect is not None:
            decision, code = step.expect.decision, step.expect.code
        if step.group == RUNAWAY and step.event == "PreToolUse":
            rounds += 1
            decision, code = ("deny", "tokens_exhausted") if rounds == 3 else (NO_OBJECTION, None)
        played.append(Played(step, decision, "", code, 0, 0.05))
    return played


def unkept(played: list[Played]) -> list[str]:
    return [finding.what for finding in report.judge_hooks(played) if not finding.seen]


def test_the_recording_is_long_enough_and_fills_its_placeholders() -> None:
    steps = recording.load(PLACEHOLDERS)
    hooks = [step for step in steps if step.do == "hook"]
    assert len([step for step in hooks if step.group != RUNAWAY]) >= report.HOOK_CALLS_MIN
    assert "{{" not in str(steps)
    assert all(step.payload["cwd"] == PLACEHOLDERS["workspace"] for step in hooks)
    names = [step.payload["tool_use_id"] for step in hooks if step.event == "PreToolUse"]
    assert len(set(names)) == len(names)
    with pytest.raises(KeyError):
        recording.load({"session": "s"})


def test_an_ideal_run_keeps_every_promise() -> None:
    assert unkept(ideal()) == []


@pytest.mark.parametrize(
    ("code", "promise"),
    [
        ("path_outside_workspace", "a path outside the workspace was refused"),
        ("tokens_exhausted", "the runaway subagent met its budget"),
        ("session_terminated", "the killed session was refused at its next hook"),
    ],
)
def test_a_denial_that_did_not_come_is_missed(code: str, promise: str) -> None:
    played = [replace(one, decision=NO_OBJECTION, code=None) if one.code == code else one for one in ideal()]
    missed = unkept(played)
    assert any(what.startswith(promise) for what in missed)
    if code != "tokens_exhausted":
        assert "every hook answered as recorded" in missed


def test_a_denial_for_another_reason_is_missed() -> None:
    played = [replace(one, code="degraded") if one.code else one for one in ideal()]
    assert len(unkept(played)) == 5


def test_a_session_that_stays_dead_is_missed() -> None:
    played = ideal()
    dead = next(index for index, one in enumerate(played) if one.code == "session_terminated")
    after = [replace(one, decision="deny", code="session_terminated") for one in played[dead:]]
    assert "the revived session went on" in unkept(played[:dead] + after)


def test_a_hook_that_fails_is_missed() -> None:
    first, *rest = ideal()
    assert unkept([replace(first, exit_code=1), *rest]) == ["every hook answered as recorded"]


@pytest.mark.parametrize(
    ("stdout", "answer"),
    [
        ("", (NO_OBJECTION, "", None)),
        ("{}", (NO_OBJECTION, "", None)),
        (DENY, ("deny", "hookbus: no more [tokens_exhausted]", "tokens_exhausted")),
        ("oops", ("unreadable", "oops", None)),
    ],
)
def test_answers_are_read(stdout: str, answer: tuple[str, str, str | None]) -> None:
    assert read_answer(stdout) == answer
