"""A reader of shell text: which commands would run, with which words, writing to which files.

It understands what decides that: quotes, escapes, comments, here-documents, operators, substitutions and groups. It
expands nothing: a variable stays in its word as it was written. One pass over the text; each character is looked at
once, whatever its nesting.
"""

import re
from dataclasses import dataclass, field
from typing import Final

NESTING_MAX: Final = 64
"""Substitutions and groups inside one another."""

_LETTERS: Final = re.compile(r"""[^\\`$'"#\s<>&|;()]+""")
_QUOTED_LETTERS: Final = re.compile(r"""[^\\`$"]+""")
"""Runs without a meaning of their own, outside quotes and inside double quotes: taken whole."""
_OPERATORS: Final = ("&&", "||", ";;", "|&", ";", "|", "&", "\n", "(", ")")
_RESERVED: Final = frozenset(
    {"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "{", "}", "!"}
)


class UnreadableShellError(ValueError):
    """The text ends inside a quote or a substitution, or nests too deep."""


@dataclass
class Command:
    """One simple command."""

    words: list[str] = field(default_factory=list[str])
    writes: list[str] = field(default_factory=list[str])
    """Targets of ``>`` and its kin."""
    pipeline: int = 0
    """Commands of one pipeline have the same number and stand in its order."""


@dataclass
class _Frame:
    """One nesting level: the command being read and the word being read."""

    closer: str
    command: Command = field(default_factory=Command)
    pipeline: int = 0
    word: list[str] | None = None
    quoted: bool = False
    """Inside double quotes."""
    redirect: bool = False
    """The next word is the target of a write."""
    skip_word: bool = False
    """The next word is the source of a read."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.commands: list[Command] = []
        self.frames = [_Frame(closer="")]
        self.heredocs: list[tuple[str, bool]] = []
        self.pipelines = 0

    def read(self) -> list[Command]:
        text, end = self.text, len(self.text)
        while self.at < end:
            frame = self.frames[-1]
            run = (_QUOTED_LETTERS if frame.quoted else _LETTERS).match(text, self.at)
            if run is not None:
                self._add(run.group())
                self.at = run.end()
                continue
            char = text[self.at]
            if char == "\\":
                if self.at + 1 < end and text[self.at + 1] != "\n":
                    self._add(text[self.at + 1])
                self.at += 2
            elif char == "`":
                self._backtick(frame)
            elif text.startswith("$(", self.at):
                self._open(")", 2)
            elif text.startswith("${", self.at):
                self._braced()
            elif frame.quoted:
                self._in_double_quotes(frame, char)
            else:
                self._plain(frame, char)
        if len(self.frames) > 1 or self.frames[-1].quoted:
            raise UnreadableShellError("a quote or a substitution is not closed")
        self._end_command(self.frames[-1], pipe=False)
        return self.commands

    def _in_double_quotes(self, frame: _Frame, char: str) -> None:
        if char == '"':
            frame.quoted = False
        else:
            self._add(char)
        self.at += 1

    def _plain(self, frame: _Frame, char: str) -> None:
        text = self.text
        if char == "'":
            self._single_quoted()
        elif text.startswith("$'", self.at):
            self._escaped_quoted()
        elif char == '"':
            self._add("")
            frame.quoted = True
            self.at += 1
        elif char == "#" and frame.word is None:
            close = text.find("\n", self.at)
            self.at = close if close >= 0 else len(text)
        elif char in " \t\r":
            self._end_word(frame)
            self.at += 1
        elif char in "<>" or text.startswith("&>", self.at):
            self._redirection(frame)
        elif char == ")" and frame.closer == ")":
            self._close()
        elif char == "(" and frame.word is None:
            self._end_command(frame, pipe=False)
            self._open(")", 1)
        else:
            self._operator_or_letter(frame, char)

    def _operator_or_letter(self, frame: _Frame, char: str) -> None:
        operator = next((op for op in _OPERATORS if self.text.startswith(op, self.at)), None)
        if operator is None:
            self._add(char)
            self.at += 1
            return
        self._end_command(frame, pipe=operator in ("|", "|&"))
        self.at += len(operator)
        if operator == "\n" and self.heredocs:
            self._skip_heredocs()

    def _single_quoted(self) -> None:
        close = self.text.find("'", self.at + 1)
        if close < 0:
            raise UnreadableShellError("a quote is not closed")
        self._add(self.text[self.at + 1 : close])
        self.at = close + 1

    def _escaped_quoted(self) -> None:
        """``$'...'``, where a backslash escapes."""
        self.at += 2
        while self.at < len(self.text) and self.text[self.at] != "'":
            self.at += 1 if self.text[self.at] == "\\" else 0
            self._add(self.text[self.at : self.at + 1])
            self.at += 1
        if self.at >= len(self.text):
            raise UnreadableShellError("a quote is not closed")
        self._add("")
        self.at += 1

    def _redirection(self, frame: _Frame) -> None:
        text = self.text
        if frame.word is not None and "".join(frame.word).isdigit():
            frame.word = None  # a descriptor's number
        self._end_word(frame)
        if text.startswith("<<<", self.at):
            self.at += 3
            frame.skip_word = True
        elif text.startswith("<<", self.at):
            self.at += 2
            self._heredoc_word()
        elif text.startswith(("<(", ">("), self.at):
            self._open(")", 2)
        else:
            write = False
            while self.at < len(text) and text[self.at] in "<>&|":
                write = write or text[self.at] == ">"
                self.at += 1
            frame.redirect, frame.skip_word = write, not write

    def _heredoc_word(self) -> None:
        text = self.text
        indented = text.startswith("-", self.at)
        if indented:
            self.at += 1
        while self.at < len(text) and text[self.at] in " \t":
            self.at += 1
        begin = self.at
        while self.at < len(text) and text[self.at] not in " \t\n;|&()<>":
            self.at += 1
        self.heredocs.append((text[begin : self.at].replace("'", "").replace('"', "").replace("\\", ""), indented))

    def _skip_heredocs(self) -> None:
        for delimiter, indented in self.heredocs:
            while self.at < len(self.text):
                close = self.text.find("\n", self.at)
                close = close if close >= 0 else len(self.text)
                line = self.text[self.at : close]
                self.at = min(close + 1, len(self.text))
                if (line.lstrip("\t") if indented else line) == delimiter:
                    break
        self.heredocs.clear()

    def _braced(self) -> None:
        close = self.text.find("}", self.at)
        if close < 0:
            raise UnreadableShellError("an expansion is not closed")
        self._add(self.text[self.at : close + 1])
        self.at = close + 1

    def _backtick(self, frame: _Frame) -> None:
        if frame.closer == "`":
            self._close()
        else:
            self._open("`", 1)

    def _open(self, closer: str, length: int) -> None:
        if len(self.frames) >= NESTING_MAX:
            raise UnreadableShellError(f"more than {NESTING_MAX} levels of substitution")
        self._add("$()")
        self.pipelines += 1
        self.frames.append(_Frame(closer=closer, pipeline=self.pipelines))
        self.at += length

    def _close(self) -> None:
        self._end_command(self.frames[-1], pipe=False)
        self.frames.pop()
        self.at += 1

    def _add(self, piece: str) -> None:
        frame = self.frames[-1]
        if frame.word is None:
            frame.word = []
        frame.word.append(piece)

    def _end_word(self, frame: _Frame) -> None:
        if frame.word is None:
            return
        word = "".join(frame.word)
        frame.word = None
        if frame.redirect:
            frame.command.writes.append(word)
        elif not frame.skip_word and (frame.command.words or word not in _RESERVED):
            frame.command.words.append(word)
        frame.redirect = frame.skip_word = False

    def _end_command(self, frame: _Frame, *, pipe: bool) -> None:
        self._end_word(frame)
        ended = frame.command
        if ended.words or ended.writes:
            self.commands.append(ended)
            ended.pipeline = frame.pipeline
        if not pipe:
            self.pipelines += 1
            frame.pipeline = self.pipelines
        frame.command = Command()


def read_commands(text: str) -> list[Command]:
    """The simple commands of ``text``, those inside substitutions included, in no promised order.

    Raises:
        UnreadableShellError: a shell could not read it either.
    """
    return _Reader(text).read()
