"""Here-documents: where the body of one ends."""

import re
from typing import Final

from hookbus.gateway.guard.script import Heredoc

BEFORE_CHARS_MAX: Final = 64
"""Tabs before the end of an indented here-document, or backslashes before a line end."""
NO_END: Final = -1

_TABS: Final = re.compile(r"\n\t++")


def find_end(text: str, at: int, heredoc: Heredoc, steps_max: int) -> tuple[int, int]:
    """Where the line that is the delimiter begins, after its tabs, and how many candidates were looked at.

    ``NO_END`` where no line is it, or where none of the first ``steps_max`` candidates is.
    """
    needle, start, steps = heredoc.delimiter or "\n", at, 0
    while steps < steps_max and (found := text.find(needle, start)) >= 0:
        steps += 1
        behind = found + len(heredoc.delimiter)
        if text[behind : behind + 1] in ("", "\n") and _begins_line(text, at, found, heredoc):
            return found, steps
        start = found + 1
    return NO_END, steps


def _begins_line(text: str, at: int, found: int, heredoc: Heredoc) -> bool:
    begin = found
    if heredoc.indented:
        before = text[max(at, found - BEFORE_CHARS_MAX) : found]
        begin -= len(before) - len(before.rstrip("\t"))
    if begin == at:
        return True
    if text[begin - 1] != "\n":
        return False
    return not (heredoc.expanded and _ends_in_backslash(text[max(at, begin - 1 - BEFORE_CHARS_MAX) : begin - 1]))


def _ends_in_backslash(line: str) -> bool:
    """Whether the line end behind ``line`` is escaped: the shell then joins the next line to it."""
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def is_ambiguous(body: str, heredoc: Heredoc) -> bool:
    """Whether the shell may end the document before its body does, at a line that it joins from two or strips more."""
    if heredoc.indented and "\t" * BEFORE_CHARS_MAX in body:
        return True
    if not heredoc.expanded or "\\\n" not in body:
        return False
    if "\\" * BEFORE_CHARS_MAX in body:
        return True
    # An escaped backslash escapes no line end: both of its letters become others, and only then lines are joined.
    joined = "\n" + body.replace("\\\\", "\0\0").replace("\\\n", "") + "\n"
    if heredoc.indented:
        joined = _TABS.sub("\n", joined)
    return f"\n{heredoc.delimiter}\n" in joined
