"""A reader of shell text: which commands would run, with which words, writing to which files.

It understands what decides that: quotes, escapes, comments, here-documents, operators, substitutions and groups. It
expands nothing: a variable stays in its word as it was written. One pass over the text by tokens, each taken whole by
an expression without backtracking; a text of more tokens than the caller allows is read up to there.
"""

import re
from collections.abc import Callable
from typing import ClassVar, Final

from hookbus.gateway.guard.quoting import decoded
from hookbus.gateway.guard.script import Command, Frame, Script, UnreadableShellError

NESTING_MAX: Final = 64
"""Substitutions and groups inside one another."""
STEPS_MAX: Final = 20_000
"""Tokens of one text."""
DOCUMENT_STEPS: Final = 4
ESCAPES_STEPS: Final = 2
CHARS_PER_STEP: Final = 4
"""What a here-document that is expanded and a quote with escapes cost beside their token."""
INDENT_CHARS_MAX: Final = 64
"""Tabs before the end of an indented here-document."""

_PLAIN: Final = re.compile(r"""([^\\`$'"# \t\r\n<>&|;()]++)([ \t\r]*+)""").match
_QUOTED: Final = re.compile(r"""[^\\`$"]++""").match
"""Runs without a meaning of their own, outside quotes (with the blanks behind them) and inside double quotes."""
_BLANKS: Final = re.compile(r"[ \t\r]++").match
_OPERATOR: Final = re.compile(r"&&|\|\||;;|\|&|[;|&\n()]").match
_EXPANSION: Final = re.compile(r"""\$\{[^}$`"'\\]*+(\}?+)""").match
_ESCAPED_QUOTED: Final = re.compile(r"""\$'((?:[^'\\]++|\\.)*+)'""", re.DOTALL).match
_ARROWS: Final = re.compile(r"[<>&|]++").match
_DELIMITER: Final = re.compile(r"(-?)[ \t]*+([^ \t\n;|&()<>]*+)").match
_FIELD_SEPARATORS: Final = ("${IFS}", "$IFS")
"""Blanks to the shell, written so that a filter on blanks does not see them."""
_RESERVED: Final = frozenset(
    {"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "{", "}", "!"}
)


class _Reader:
    def __init__(self, text: str, script: Script, steps_max: int, *, document: bool = False) -> None:
        self.text = text
        self.at = 0
        self.script = script
        self.steps_max = steps_max
        script.pipelines += 1
        self.frames = [Frame(closer="", pipeline=script.pipelines, quoted=document, document=document)]
        self.heredocs: list[tuple[str, bool, bool]] = []
        """Delimiter, whether tabs before it are dropped, whether the body is expanded."""

    def read(self) -> None:
        text, end, script = self.text, len(self.text), self.script
        while self.at < end:
            if script.steps >= self.steps_max:
                script.cut = True
                break
            script.steps += 1
            frame = self.frames[-1]
            if frame.quoted:
                run = _QUOTED(text, self.at)
                if run is None:
                    self._in_quotes[text[self.at]](self, frame)
                    continue
                self._add(frame, run[0])
            else:
                run = _PLAIN(text, self.at)
                if run is None:
                    self._outside.get(text[self.at], _Reader._letter)(self, frame)
                    continue
                self._add(frame, run[1])
                if run[2]:
                    self._end_word(frame)
            self.at = run.end()
        outermost = self.frames[0]
        if not script.cut and (len(self.frames) > 1 or (outermost.quoted and not outermost.document)):
            raise UnreadableShellError("a quote or a substitution is not closed")
        for frame in self.frames:
            self._end_command(frame, pipe=False)

    def _letter(self, frame: Frame) -> None:
        self._add(frame, self.text[self.at])
        self.at += 1

    def _escape(self, frame: Frame) -> None:
        if self.at + 1 < len(self.text) and self.text[self.at + 1] != "\n":
            self._add(frame, self.text[self.at + 1])
        self.at += 2

    def _dollar(self, frame: Frame) -> None:
        text = self.text
        following = text[self.at + 1 : self.at + 2]
        if following == "(":
            self._open(frame, ")", 2)
        elif not frame.quoted and text.startswith(_FIELD_SEPARATORS, self.at):
            self._end_word(frame)
            self.at = text.index("S", self.at) + (2 if following == "{" else 1)
        elif following == "{":
            self._braced(frame)
        elif following == "'" and not frame.quoted:
            self._escaped_quoted(frame)
        else:
            self._letter(frame)

    def _double_quote(self, frame: Frame) -> None:
        if frame.document:
            self._letter(frame)
            return
        self._add(frame, "")
        frame.quoted = not frame.quoted
        self.at += 1

    def _comment(self, frame: Frame) -> None:
        if frame.word is not None:
            self._letter(frame)
            return
        close = self.text.find("\n", self.at)
        self.at = close if close >= 0 else len(self.text)

    def _blanks(self, frame: Frame) -> None:
        self._end_word(frame)
        run = _BLANKS(self.text, self.at)
        assert run is not None
        self.at = run.end()

    def _ampersand(self, frame: Frame) -> None:
        if self.text.startswith("&>", self.at):
            self._redirection(frame)
        else:
            self._operator(frame)

    def _parenthesis(self, frame: Frame) -> None:
        if frame.word is None:
            self._end_command(frame, pipe=False)
            self._open(frame, ")", 1)
            return
        if self.text.startswith("()", self.at) and not frame.command.words:
            self.script.functions.add("".join(frame.word))
        self._operator(frame)

    def _closing_parenthesis(self, frame: Frame) -> None:
        if frame.closer == ")":
            self._close()
        else:
            self._operator(frame)

    def _operator(self, frame: Frame) -> None:
        found = _OPERATOR(self.text, self.at)
        assert found is not None
        self._end_command(frame, pipe=found[0] in ("|", "|&"))
        self.at = found.end()
        if found[0] == "\n" and self.heredocs:
            self._read_heredocs()

    def _single_quoted(self, frame: Frame) -> None:
        close = self.text.find("'", self.at + 1)
        if close < 0:
            raise UnreadableShellError("a quote is not closed")
        self._add(frame, self.text[self.at + 1 : close])
        self.at = close + 1

    def _escaped_quoted(self, frame: Frame) -> None:
        found = _ESCAPED_QUOTED(self.text, self.at)
        if found is None:
            raise UnreadableShellError("a quote is not closed")
        self.script.steps += ESCAPES_STEPS + len(found[1]) // CHARS_PER_STEP
        word = decoded(found[1])
        if word is None:
            raise UnreadableShellError("a quote holds more escapes than can be read")
        self._add(frame, word)
        self.at = found.end()

    def _redirection(self, frame: Frame) -> None:
        text = self.text
        if frame.word is not None and "".join(frame.word).isdigit():
            frame.word = None  # a descriptor's number
        self._end_word(frame)
        if text.startswith("<<<", self.at):
            self.at += 3
            frame.skip_word = True
        elif text.startswith("<<", self.at):
            self._heredoc_word()
        elif text.startswith(("<(", ">("), self.at):
            self._open(frame, ")", 2)
        else:
            arrows = _ARROWS(text, self.at)
            assert arrows is not None
            self.at = arrows.end()
            frame.redirect = ">" in arrows[0]
            frame.skip_word = not frame.redirect

    def _heredoc_word(self) -> None:
        found = _DELIMITER(self.text, self.at + 2)
        assert found is not None
        delimiter = found[2].replace("'", "").replace('"', "").replace("\\", "")
        self.heredocs.append((delimiter, bool(found[1]), delimiter == found[2]))
        self.at = found.end()

    def _read_heredocs(self) -> None:
        for delimiter, indented, expanded in self.heredocs:
            end = self._document_end(delimiter, indented=indented)
            body = self.text[self.at : end]
            if expanded and ("$(" in body or "`" in body):
                self._read_document(body)
            self.at = min(end + len(delimiter) + 1, len(self.text))
        self.heredocs.clear()

    def _document_end(self, delimiter: str, *, indented: bool) -> int:
        """Where the line that is ``delimiter`` begins, after its tabs; the end of the text where there is none."""
        text, needle, at = self.text, delimiter or "\n", self.at
        while (found := text.find(needle, at)) >= 0 and self.script.steps < self.steps_max:
            self.script.steps += 1
            before = text[max(self.at, found - INDENT_CHARS_MAX) : found] if indented else ""
            begins = found == self.at or text[found - 1 - len(before) + len(before.rstrip("\t"))] == "\n"
            behind = found + len(delimiter)
            if (begins or before == "\t" * (found - self.at)) and text[behind : behind + 1] in ("", "\n"):
                return found
            at = found + 1
        return len(text)

    def _read_document(self, body: str) -> None:
        """What the shell runs to fill in a here-document. A body that it could not fill in runs nothing further."""
        self.script.steps += DOCUMENT_STEPS
        try:
            _Reader(body, self.script, self.steps_max, document=True).read()
        except UnreadableShellError:
            return

    def _braced(self, frame: Frame) -> None:
        """``${...}`` whole, or up to what inside it is read on its own."""
        found = _EXPANSION(self.text, self.at)
        assert found is not None
        if not found[1] and found.end() == len(self.text):
            raise UnreadableShellError("an expansion is not closed")
        self._add(frame, found[0])
        self.at = found.end()

    def _backtick(self, frame: Frame) -> None:
        if frame.closer == "`":
            self._close()
        else:
            self._open(frame, "`", 1)

    def _open(self, frame: Frame, closer: str, length: int) -> None:
        if len(self.frames) >= NESTING_MAX:
            raise UnreadableShellError(f"more than {NESTING_MAX} levels of substitution")
        self._add(frame, "$()")
        self.script.pipelines += 1
        self.frames.append(Frame(closer=closer, pipeline=self.script.pipelines))
        self.at += length

    def _close(self) -> None:
        self._end_command(self.frames[-1], pipe=False)
        self.frames.pop()
        self.at += 1

    @staticmethod
    def _add(frame: Frame, piece: str) -> None:
        if frame.word is None:
            frame.word = [piece]
        else:
            frame.word.append(piece)

    @staticmethod
    def _end_word(frame: Frame) -> None:
        if frame.word is None:
            return
        word = "".join(frame.word)
        frame.word = None
        if frame.redirect:
            frame.command.writes.append(word)
        elif not frame.skip_word and (frame.command.words or word not in _RESERVED):
            frame.command.words.append(word)
        frame.redirect = frame.skip_word = False

    def _end_command(self, frame: Frame, *, pipe: bool) -> None:
        self._end_word(frame)
        ended = frame.command
        if ended.words or ended.writes:
            self.script.commands.append(ended)
            ended.pipeline = frame.pipeline
            frame.command = Command()
        if not pipe:
            self.script.pipelines += 1
            frame.pipeline = self.script.pipelines

    _in_quotes: ClassVar[dict[str, Callable[["_Reader", Frame], None]]] = {
        "\\": _escape,
        "`": _backtick,
        "$": _dollar,
        '"': _double_quote,
    }
    _outside: ClassVar[dict[str, Callable[["_Reader", Frame], None]]] = {
        **_in_quotes,
        "'": _single_quoted,
        "#": _comment,
        " ": _blanks,
        "\t": _blanks,
        "\r": _blanks,
        "<": _redirection,
        ">": _redirection,
        "&": _ampersand,
        "(": _parenthesis,
        ")": _closing_parenthesis,
        ";": _operator,
        "|": _operator,
        "\n": _operator,
    }
    """What a character means inside double quotes and outside of quotes; any other is a letter."""


def read_script(text: str, *, steps_max: int = STEPS_MAX) -> Script:
    """What ``text`` would run, up to ``steps_max`` tokens of it."""
    script = Script()
    reader = _Reader(text, script, steps_max)
    try:
        reader.read()
    except UnreadableShellError as error:
        script.fault = str(error)
        for frame in reader.frames:
            if frame.command.words or frame.command.writes:
                frame.command.pipeline = frame.pipeline
                script.commands.append(frame.command)
    return script
