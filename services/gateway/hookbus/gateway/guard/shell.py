"""A reader of shell text: which commands would run, with which words, reading, writing and fed what.

It understands what decides that: quotes, escapes, comments, here-documents, operators, arithmetic, substitutions and
groups. It expands braces and nothing else: a variable stays in its word as it was written. One pass over the text by
tokens, each taken whole by an expression without backtracking; a text of more tokens than the caller allows is read up
to there. Where shells differ, or a form is too rare to be worth following, the reader goes on with a fault on record.
"""

import re
from collections.abc import Callable
from typing import ClassVar, Final

from hookbus.gateway.guard.documents import NO_END, find_end, is_ambiguous
from hookbus.gateway.guard.quotes import DOUBLE_PARENTHESIS, Quotes
from hookbus.gateway.guard.reading import ASSIGNMENT, RESERVED
from hookbus.gateway.guard.script import DELIMITERS, Frame, Heredoc, Role, Script, UnreadableShellError

STEPS_MAX: Final = 20_000
"""Tokens of one text."""
NAME_PIECES_MAX: Final = 8
"""A word of more tokens is not looked at for a name: it may be one."""

_PLAIN: Final = re.compile(r"""([^\\`$'"# \t\r\n<>&|;()\[\]]++)([ \t]*+)""").match
_QUOTED: Final = re.compile(r"""[^\\`$"]++""").match
_EXPANDED: Final = re.compile(r"""[^\\`$"'}<>]++""").match
"""Runs without a meaning of their own: outside quotes (with the blanks behind them), inside double quotes, and inside
``${...}``."""
_BLANKS: Final = re.compile(r"[ \t]++").match
_OPERATOR: Final = re.compile(r"&&|\|\||;;|\|&|[;|&\n()]").match
_NO_PARAMETERS: Final = re.compile(r"\([ \t]*+\)").match
_ARROWS: Final = re.compile(r"[<>&|]++").match
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+").fullmatch
_DESCRIPTOR: Final = re.compile(r"[0-9]++|\{[A-Za-z_][A-Za-z0-9_]*+\}").fullmatch
_RUNS_SOMETHING: Final = re.compile(r"`|\$\(|\$\\\n|\$\{[ \t\n|]").search
"""In the body of a here-document, what makes the shell run a command to fill it in."""
_DECLARING: Final = frozenset({"time", "declare", "typeset", "local", "export", "readonly"})
"""Behind these the shell takes ``name[`` for a subscript, as it does before a command's name."""


class _Reader(Quotes):
    def read(self) -> None:
        text, end, script = self.text, len(self.text), self.script
        while self.at < end:
            if script.steps >= self.steps_max:
                script.cut = True
                break
            script.steps += 1
            frame = self.frames[-1]
            if frame.quoted:
                run, letters = _QUOTED(text, self.at), self.in_quotes
            elif frame.expansion:
                run, letters = _EXPANDED(text, self.at), self.in_expansion
            else:
                run, letters = _PLAIN(text, self.at), self._outside
                if run is not None:
                    self._add(frame, run[1])
                    if "{" in run[1]:
                        frame.braces = True
                    if run[2]:
                        self._end_word(frame)
                    self.at = run.end()
                    continue
            if run is None:
                letters.get(text[self.at], Quotes.letter)(self, frame)
            else:
                self._add(frame, run[0])
                self.at = run.end()
        self._end()

    def _end(self) -> None:
        outermost = self.frames[0]
        if not self.script.cut and (len(self.frames) > 1 or (outermost.quoted and not outermost.document)):
            raise UnreadableShellError("a quote or a substitution is not closed")
        for frame in self.frames:
            if not frame.expansion:
                self._end_command(frame, pipe=False)
        if outermost.heredocs:
            self._doubt("a here-document has no end")

    def _blanks(self, frame: Frame) -> None:
        self._end_word(frame)
        run = _BLANKS(self.text, self.at)
        assert run is not None
        self.at = run.end()

    def _carriage_return(self, frame: Frame) -> None:
        """A letter to most shells, dropped by some: read as a blank, and only before a line end is it the same."""
        if self.text[self.at + 1 : self.at + 2] not in ("", "\n") or frame.role in DELIMITERS:
            self._doubt("a carriage return stands inside a line")
        self._end_word(frame)
        self.at += 1

    def _comment(self, frame: Frame) -> None:
        if frame.word is not None or frame.arithmetic:
            frame.shifted = frame.shifted or frame.word is None
            self.letter(frame)
            return
        if frame.odd:
            self._doubt("a comment may begin inside a word or a test")
            self.letter(frame)
            return
        close = self.text.find("\n", self.at)
        self.at = close if close >= 0 else len(self.text)

    def _bracket(self, frame: Frame) -> None:
        """``name[`` where the shell takes all up to the bracket's end for a subscript, whatever it holds."""
        if not frame.arithmetic and (frame.subscript or self._takes_subscript(frame)):
            frame.subscript += 1
        self.letter(frame)

    @staticmethod
    def _takes_subscript(frame: Frame) -> bool:
        if frame.word is None:
            return frame.listing
        words = frame.command.words
        before_name = not words or words[0] in _DECLARING or ASSIGNMENT.match(words[0]) is not None
        return before_name and (len(frame.word) > NAME_PIECES_MAX or _NAME("".join(frame.word)) is not None)

    def _closing_bracket(self, frame: Frame) -> None:
        frame.subscript = max(0, frame.subscript - 1)
        self.letter(frame)

    def _ampersand(self, frame: Frame) -> None:
        if self.text.startswith("&>", self.at):
            self._redirection(frame)
        else:
            self._operator(frame)

    def _operator(self, frame: Frame) -> None:
        found = _OPERATOR(self.text, self.at)
        assert found is not None
        self._end_command(frame, pipe=found[0] in ("|", "|&"))
        self.at = found.end()
        frame.testing = frame.testing and found[0] in ("&&", "||", "\n", "|")
        if found[0] == "\n":
            if len(self.frames) > 1 and any(one.heredocs is not frame.heredocs and one.heredocs for one in self.frames):
                self._doubt("a here-document begins while a substitution before it is still open")
            if frame.heredocs:
                self._read_heredocs(frame)

    def _parenthesis(self, frame: Frame) -> None:
        if frame.testing or self._assigns(frame):
            self._add(frame, "$()")
            self._push(frame, Frame(closer=")", listing=not frame.testing, odd=frame.testing), self.at + 1)
            return
        words, word = frame.command.words, None if frame.word is None else "".join(frame.word)
        names = [*words[:2], word] if word is not None else words[:2]
        if len(names) == 1 and (empty := _NO_PARAMETERS(self.text, self.at)) and names[0] not in RESERVED:
            self.script.functions.add(names[0])
            self._end_command(frame, pipe=False)
            self.at = empty.end()
            return
        begins = (not words and (word is None or word in RESERVED)) or (words == ["time"] and word is None)
        double = DOUBLE_PARENTHESIS(self.text, self.at) if begins and not (frame.arithmetic or frame.odd) else None
        self._end_command(frame, pipe=False)
        if frame.arithmetic or double is not None:
            inner = Frame(closer=")", arithmetic=True)
        elif begins and not frame.odd:
            inner = Frame(closer=")", heredocs=frame.heredocs)
        else:
            inner = Frame(closer=")", odd=True)
        self._push(frame, inner, self.at + 1)
        if double is not None:
            self._push(inner, Frame(closer=")", arithmetic=True, doubled=True), double.end())

    @staticmethod
    def _assigns(frame: Frame) -> bool:
        """Whether the word so far is ``name=``."""
        if frame.word is None or not frame.word[-1].endswith("="):
            return False
        word = "".join(frame.word)
        found = ASSIGNMENT.match(word)
        return found is not None and found.end() == len(word)

    def _closing_parenthesis(self, frame: Frame) -> None:
        if frame.closer == ")" and not frame.cases:
            self._close()
        else:
            self._operator(frame)

    def _count_shift(self, frame: Frame) -> None:
        """What is an operator of arithmetic here and something else to commands."""
        frame.shifted = True
        if frame.subscript:
            self._doubt("a subscript holds blanks or operators")

    def _redirection(self, frame: Frame) -> None:
        text, at = self.text, self.at
        if (frame.arithmetic and text.startswith(("<<", "<(", ">("), at)) or frame.subscript:
            self._count_shift(frame)
            length = 2 if text.startswith("<<", at) else 1
            self._add(frame, text[at : at + length])
            self.at += length
            return
        if frame.word is not None and not frame.literal and _DESCRIPTOR("".join(frame.word)):
            frame.word = None
            frame.braces = False
        self._end_word(frame)
        if text.startswith("<<<", at):
            self.at += 3
            frame.role = Role.TEXT
        elif text.startswith("<<", at):
            if frame.odd:
                self._doubt("a here-document may begin inside a word or a test")
            indented = text.startswith("-", at + 2)
            self.at += 2 + indented
            frame.role = Role.INDENTED_DELIMITER if indented else Role.DELIMITER
        elif text.startswith(("<(", ">("), at):
            self._add(frame, "$()")
            self._push(frame, Frame(closer=")", substituted=True), at + 2)
            return
        else:
            arrows = _ARROWS(text, at)
            assert arrows is not None
            self.at = arrows.end()
            frame.role = Role.WRITE if ">" in arrows[0] else Role.READ
        if text.startswith("\\\n", self.at):
            self._doubt("a redirection is broken over lines")

    def _read_heredocs(self, frame: Frame) -> None:
        for heredoc in frame.heredocs:
            if not self.endless:
                self._read_heredoc(heredoc, frame)
        frame.heredocs.clear()

    def _read_heredoc(self, heredoc: Heredoc, frame: Frame) -> None:
        """Its body. Where it has no end, all that follows is read as its body and as commands."""
        end, steps = find_end(self.text, self.at, heredoc, self.steps_max - self.script.steps)
        self.script.steps += steps
        if end == NO_END:
            self.endless = True
            heredoc.command.documents.append(self.text[self.at :])
            self._doubt("a here-document has no end")
            return
        body = self.text[self.at : end]
        if is_ambiguous(body, heredoc):
            self._doubt("a here-document may end before its last line")
            self._read_inside(body, frame, document=False)
        heredoc.command.documents.append(body)
        self.at = min(end + len(heredoc.delimiter) + 1, len(self.text))
        if heredoc.expanded and _RUNS_SOMETHING(body):
            self._read_inside(body, frame, document=True)

    _outside: ClassVar[dict[str, Callable[["_Reader", Frame], None]]] = {
        **Quotes.outside_quotes,
        "#": _comment,
        "[": _bracket,
        "]": _closing_bracket,
        " ": _blanks,
        "\t": _blanks,
        "\r": _carriage_return,
        "<": _redirection,
        ">": _redirection,
        "&": _ampersand,
        "(": _parenthesis,
        ")": _closing_parenthesis,
        ";": _operator,
        "|": _operator,
        "\n": _operator,
    }
    """What a character means outside of quotes and ``${...}``; any other is a letter."""


def read_script(text: str, *, steps_max: int = STEPS_MAX) -> Script:
    """What ``text`` would run, up to ``steps_max`` tokens of it."""
    script = Script()
    reader = _Reader(text, script, steps_max)
    try:
        reader.read()
    except UnreadableShellError as error:
        script.fault = str(error)
        reader.keep_unfinished()
    return script
