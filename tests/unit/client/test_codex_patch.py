"""A Codex patch names its files inside its text: the guard gets every path that Codex will write to."""

from typing import Any

import pytest

from hookbus.client import adapters
from hookbus.client.adapters.base import Context, Translation
from hookbus.client.adapters.codex import PATCH_RECORDS_MAX
from hookbus.client.deciding import with_unseen
from hookbus.client.gateway import Decision

OUTSIDE = "/etc/cron.d/x"


def patch(*lines: str) -> str:
    return "\n".join(["*** Begin Patch", *lines, "*** End Patch"])


def translated(tool_input: object, context: Context, event: str = "PreToolUse") -> Translation:
    payload = {"hook_event_name": event, "session_id": "s", "tool_name": "apply_patch", "tool_input": tool_input}
    return adapters.load("codex").translate(payload, context)


def judged(tool_input: object, context: Context) -> list[str]:
    """The paths that the guard gets."""
    event = translated(tool_input, context).pre_task
    assert event is not None
    return event["data"]["tool_input"].get("file_paths", [])


def added(count: int) -> list[str]:
    return [line for number in range(count) for line in (f"*** Add File: src/{number}.py", "+x")]


@pytest.mark.parametrize("count", [99, 100, 101, 2_000])
def test_every_path_is_judged_however_many_there_are(context: Context, count: int) -> None:
    paths = judged({"command": patch(*added(count), f"*** Add File: {OUTSIDE}", "+x")}, context)
    assert (len(paths), paths[-1]) == (count + 1, OUTSIDE)


@pytest.mark.parametrize("count", [6_000, 25_000])
def test_more_paths_than_an_event_holds_are_denied_as_not_fully_seen(context: Context, count: int) -> None:
    translation = translated({"command": patch(*added(count), f"*** Add File: {OUTSIDE}", "+x")}, context)
    assert translation.unseen
    decision = with_unseen(Decision("allow", "fine", "ok"), translation.unseen)
    answer = adapters.load("codex").answer(translation, decision)
    assert (answer.body or {})["hookSpecificOutput"]["permissionDecision"] == "deny"


@pytest.mark.parametrize("before", ["", " ", "\t", "\u00a0", "\u2003", "\x0b", "\x0c", "\u2028"])
@pytest.mark.parametrize("after", ["", " ", "\r", "\t\r"])
@pytest.mark.parametrize("header", ["Add File", "Update File", "Delete File", "Move to"])
def test_white_space_around_a_header_hides_no_path(context: Context, header: str, before: str, after: str) -> None:
    lines = ("*** Update File: a", f"{before}*** {header}: {OUTSIDE}{after}", "@@", "-a", "+b")
    assert judged({"command": patch(*lines)}, context) == ["a", OUTSIDE]


@pytest.mark.parametrize("letter", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85", "\r"])
def test_only_a_line_feed_ends_a_path(context: Context, letter: str) -> None:
    """Codex writes to the whole of it, not to what stands before the letter."""
    assert judged({"command": patch(f"*** Add File: a{letter}/../../b", "+x")}, context) == [f"a{letter}/../../b"]


def test_a_path_is_judged_with_the_space_it_begins_with(context: Context) -> None:
    """To Codex it is a folder named by a space: the way up from it ends elsewhere than from the root."""
    assert judged({"command": patch("*** Add File:  /../../x", "+x")}, context) == [" /../../x"]


def test_what_a_patch_writes_is_no_header(context: Context) -> None:
    assert judged({"command": patch("*** Add File: a", f"+*** Add File: {OUTSIDE}")}, context) == ["a"]


@pytest.mark.parametrize("field", ["input", "patch", "command"])
def test_no_other_field_of_the_input_hides_a_patch(context: Context, field: str) -> None:
    harmless = patch("*** Add File: a", "+x")
    given = {"input": harmless, "patch": harmless, "command": harmless, field: patch(f"*** Add File: {OUTSIDE}", "+x")}
    assert OUTSIDE in judged(given, context)


def test_a_patch_that_comes_as_its_text_alone_is_judged(context: Context) -> None:
    assert judged(patch(f"*** Add File: {OUTSIDE}", "+x"), context) == [OUTSIDE]


def test_the_records_of_one_patch_are_bounded(context: Context) -> None:
    tool_input: dict[str, Any] = {"command": patch(*added(PATCH_RECORDS_MAX + 50))}
    kinds = [record["kind"] for record in translated(tool_input, context, "PostToolUse").records]
    assert kinds == ["post-task", *["post-edit"] * PATCH_RECORDS_MAX]
