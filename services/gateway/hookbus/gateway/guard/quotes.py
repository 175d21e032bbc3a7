"""Quotes, backticks and what begins with a dollar: what a reader of shell text does at each."""

import re
from collections.abc import Callable
from typing import ClassVar, Final

from hookbus.gateway.guard.quoting import decoded, unescaped
from hookbus.gateway.guard.reading import CHARS_PER_STEP, Reading
from hookbus.gateway.guard.script import DELIMITERS, Frame, UnreadableShellError

DEPTH_MAX: Final = 8
"""Texts inside one another: backticks in backticks, here-documents in the substitutions of here-documents."""
INSIDE_STEPS: Final = 4
ESCAPES_STEPS: Final = 2
"""What a text inside the text and a quote with escapes cost beside their token."""

_EXPANSION: Final = re.compile(r"""\$\{[^}$`"'\\<>]*+(\}?+)""").match
_ALTERNATIVE: Final = re.compile(r"""\$\{[!#]?+(?:[A-Za-z0-9_]++|[@*#?$!-])(?:\[[^\]"'`$\\}]*+\])?+:?[-=+?]""").match
_ESCAPED_QUOTED: Final = re.compile(r"""\$'((?:[^'\\]++|\\.)*+)'""", re.DOTALL).match
_SIMPLE_QUOTED: Final = re.compile(r"""'[^'"}$`\\]*+'""").match
_BACKTICKED: Final = re.compile(r"`((?:[^`\\]++|\\.)*+)`", re.DOTALL).match
DOUBLE_PARENTHESIS: Final = re.compile(r"\((?:\\\n)*+\(").match
_FIELD_SEPARATORS: Final = ("${IFS}", "$IFS")
"""Blanks to the shell, written so that a filter on blanks does not see them."""

_UNCLEAR: Final = ("\\\n", "$(", "${", "$[", "$\\\n")
"""Behind a dollar: the line goes on, or the number of the process stands before what might be an expansion."""


class Quotes(Reading):
    """A reader that knows these."""

    def letter(self, frame: Frame) -> None:
        """A character that stands for itself."""
        self._add(frame, self.text[self.at])
        self.at += 1

    def _escape(self, frame: Frame) -> None:
        if self.at + 1 < len(self.text) and self.text[self.at + 1] != "\n":
            self._add(frame, self.text[self.at + 1])
            frame.literal = True
        self.at += 2

    def _double_quote(self, frame: Frame) -> None:
        if frame.document:
            self.letter(frame)
            return
        self._add(frame, "")
        frame.literal = True
        frame.quoted = not frame.quoted
        self.at += 1

    def _single_quoted(self, frame: Frame) -> None:
        close = self.text.find("'", self.at + 1)
        if close < 0:
            raise UnreadableShellError("a quote is not closed")
        self._add(frame, self.text[self.at + 1 : close])
        frame.literal = True
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
        frame.literal = True
        self.at = found.end()

    def _dollar(self, frame: Frame) -> None:
        text = self.text
        following = text[self.at + 1 : self.at + 2]
        plain = not frame.quoted and not frame.expansion
        if frame.role in DELIMITERS and following in ("(", "{", "'", '"'):
            self._doubt("the end of a here-document is no plain word")
        if following == "(":
            self._substitution(frame)
        elif plain and text.startswith(_FIELD_SEPARATORS, self.at):
            self._end_word(frame)
            self.at = text.index("S", self.at) + (2 if following == "{" else 1)
        elif following == "{":
            self._braced(frame)
        elif following == "'" and not frame.quoted and not (frame.enclosed and frame.alternative):
            self._escaped_quoted(frame)
        elif following == '"' and plain:
            self.at += 1  # a text to be translated
        else:
            process = following == "$"
            unclear = text.startswith(_UNCLEAR, self.at + 1) or (process and frame.expansion)
            if unclear or (following == "[" and not frame.document):
                self._doubt("an expansion is written in a form that shells read differently")
            self.letter(frame)
            if process:
                self.letter(frame)
            if following == "[" and plain:
                self.letter(frame)
                frame.subscript += 1

    def _substitution(self, frame: Frame) -> None:
        double = DOUBLE_PARENTHESIS(self.text, self.at + 1)
        self._add(frame, "$()")
        outer = Frame(closer=")", substituted=True, arithmetic=double is not None)
        self._push(frame, outer, self.at + 2)
        if double is not None:
            self._push(outer, Frame(closer=")", arithmetic=True, doubled=True), double.end())

    def _braced(self, frame: Frame) -> None:
        """``${...}`` whole, or up to what inside it is read on its own."""
        found = _EXPANSION(self.text, self.at)
        assert found is not None
        if found[0][2:3] in (" ", "\t", "\n", "|"):
            self._doubt("an expansion runs commands in some shells")
        self._add(frame, found[0])
        self.at = found.end()
        if found[1]:
            return
        self._add(frame, "}")
        enclosed = frame.quoted or frame.enclosed
        alternative = enclosed and _ALTERNATIVE(found[0]) is not None
        self._push(frame, Frame(closer="}", expansion=True, enclosed=enclosed, alternative=alternative), self.at)

    def _quote_in_expansion(self, frame: Frame) -> None:
        if not frame.enclosed:
            self._single_quoted(frame)
        elif simple := _SIMPLE_QUOTED(self.text, self.at):
            self.at = simple.end()  # the same, whether its quotes are quotes or letters
        else:
            if not frame.alternative:
                self._doubt("a quote inside an expansion inside quotes is read differently by shells")
            self.letter(frame)

    def _arrow_in_expansion(self, frame: Frame) -> None:
        if not frame.enclosed and self.text.startswith("(", self.at + 1):
            self._doubt("a process is substituted inside an expansion")
            self._push(frame, Frame(closer=")", substituted=True), self.at + 2)
        else:
            self.letter(frame)

    def _close_expansion(self, _frame: Frame) -> None:
        self._close()

    def _backtick(self, frame: Frame) -> None:
        """The text inside is read on its own: the next backtick that is not escaped ends it, whatever it holds."""
        found = _BACKTICKED(self.text, self.at)
        if found is None:
            raise UnreadableShellError("a quote or a substitution is not closed")
        if frame.role in DELIMITERS:
            self._doubt("the end of a here-document is no plain word")
        self._add(frame, "$()")
        self.at = found.end()
        quoted = frame.enclosed or (frame.quoted and not frame.document)
        self._read_inside(unescaped(found[1], quoted=quoted), frame, document=False)

    def _read_inside(self, text: str, frame: Frame, *, document: bool) -> None:
        """A text of its own. The shell goes on behind one that it cannot read; such a document it does not fill in."""
        self.script.steps += INSIDE_STEPS
        if self.depth >= DEPTH_MAX:
            self._doubt("the texts inside one another are too many to read")
            return
        inner = self.__class__(
            text, self.script, self.steps_max, depth=self.depth + 1, scope=frame.scope, document=document
        )
        try:
            inner.read()
        except UnreadableShellError as error:
            inner.keep_unfinished()
            if not document:
                self._doubt(str(error))

    in_quotes: ClassVar[dict[str, Callable[["Quotes", Frame], None]]] = {
        "\\": _escape,
        "`": _backtick,
        "$": _dollar,
        '"': _double_quote,
    }
    outside_quotes: ClassVar[dict[str, Callable[["Quotes", Frame], None]]] = {**in_quotes, "'": _single_quoted}
    in_expansion: ClassVar[dict[str, Callable[["Quotes", Frame], None]]] = {
        **in_quotes,
        "'": _quote_in_expansion,
        "<": _arrow_in_expansion,
        ">": _arrow_in_expansion,
        "}": _close_expansion,
    }
    """What a character means inside double quotes, outside of them, and inside ``${...}``."""
