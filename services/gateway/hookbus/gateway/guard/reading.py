"""How words become commands: the state of a reader of shell text, and what the end of a word or a command does."""

import re
from typing import Final

from hookbus.gateway.guard.braces import braced_words
from hookbus.gateway.guard.script import DELIMITERS, Command, Frame, Heredoc, Role, Script, UnreadableShellError

NESTING_MAX: Final = 64
"""Substitutions and groups inside one another."""
CHARS_PER_STEP: Final = 4
BRACE_STEPS_MAX: Final = 32
"""What a word of braces and a quote with escapes cost beside their token; the words that braces make cost one each."""

RESERVED: Final = frozenset(
    {"if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "{", "}", "!"}
    | {"coproc"}
)
_SPECIAL: Final = RESERVED | {"function", "[[", "]]"}
_TIME: Final = frozenset({"time", "-p", "--"})
TIME_WORDS_MAX: Final = 3
"""Behind ``time`` and its options a reserved word is one."""
ASSIGNMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*+(?:\[.*\])?\+?=", re.DOTALL)


class Reading:
    """One text being read. ``depth`` counts the texts around it, of backticks and here-documents."""

    def __init__(
        self, text: str, script: Script, steps_max: int, *, depth: int = 0, scope: int = -1, document: bool = False
    ) -> None:
        self.text = text
        self.at = 0
        self.script = script
        self.steps_max = steps_max
        self.depth = depth
        script.pipelines += 1
        first = Frame(closer="", pipeline=script.pipelines, quoted=document, document=document)
        first.scope = script.inner_scope(scope)
        self.frames = [first]
        self.endless = False
        """A here-document has no end: later ones are not looked for."""

    def read(self) -> None:
        """All of the text.

        Raises:
            UnreadableShellError: a shell could not read the rest either.
        """
        raise NotImplementedError

    def keep_unfinished(self) -> None:
        """The commands that were being read, where the text cannot be read further."""
        for frame in self.frames:
            if not frame.command.is_empty:
                self._keep(frame)

    def _doubt(self, reason: str) -> None:
        """What follows may be misread. Reading goes on: what is found is judged all the same."""
        self.script.fault = self.script.fault or reason

    def _push(self, frame: Frame, inner: Frame, at: int) -> None:
        if len(self.frames) >= NESTING_MAX:
            raise UnreadableShellError(f"more than {NESTING_MAX} levels of substitution")
        self.script.pipelines += 1
        inner.pipeline = self.script.pipelines
        inner.scope = self.script.inner_scope(frame.scope)
        inner.substituted = inner.substituted or frame.substituted
        self.frames.append(inner)
        self.at = at

    def _close(self) -> None:
        closed = self.frames[-1]
        if not closed.expansion:
            self._end_command(closed, pipe=False)
        self.frames.pop()
        self.at += 1
        frame = self.frames[-1]
        if closed.heredocs and closed.heredocs is not frame.heredocs:
            self._doubt("a here-document has no end")
        if closed.doubled and not self.text.startswith(")", self.at):
            # Two groups and no arithmetic after all. What was read as such could be commands.
            frame.arithmetic = False
            if closed.shifted:
                self._doubt("it is arithmetic in part only")
        elif closed.arithmetic and not closed.substituted:
            frame.shifted = frame.shifted or closed.shifted

    @staticmethod
    def _add(frame: Frame, piece: str) -> None:
        if frame.word is None:
            frame.word = [piece]
        else:
            frame.word.append(piece)

    def _end_word(self, frame: Frame) -> None:
        if frame.word is None:
            return
        word, role = "".join(frame.word), frame.role
        literal, braces = frame.literal, frame.braces
        frame.word, frame.role = None, Role.WORD
        frame.literal = frame.braces = False
        if frame.subscript:
            frame.subscript = 0
            self._doubt("a subscript holds blanks or operators")
        if role is Role.WORD:
            self._take(frame, word, literal=literal, braces=braces)
        elif role is Role.WRITE:
            frame.command.writes.append(word)
        elif role is Role.READ:
            frame.command.reads.append(word)
        elif role is Role.TEXT:
            frame.command.documents.append(word)
        elif role is Role.NAME:
            self.script.functions.add(word)
            self._end_command(frame, pipe=False)
        else:
            if "\n" in word:
                self._doubt("the end of a here-document is more than a line")
            indented = role is Role.INDENTED_DELIMITER
            frame.heredocs.append(Heredoc(frame.command, word, indented=indented, expanded=not literal))

    def _take(self, frame: Frame, word: str, *, literal: bool, braces: bool) -> None:
        """A word of a command, unless it is one of the shell's own."""
        words = frame.command.words
        if word in _SPECIAL and self._is_own(frame, word, literal=literal):
            return
        if len(words) == frame.assignments and "=" in word and ASSIGNMENT.match(word):
            frame.assignments += 1
        elif braces:
            self.script.steps += min(len(word) // CHARS_PER_STEP, BRACE_STEPS_MAX)
            made = braced_words(word)
            if made is not None:
                self.script.steps += len(made)
                words.extend(made)
                return
            self._doubt("braces make more words than can be judged")
        words.append(word)

    def _is_own(self, frame: Frame, word: str, *, literal: bool) -> bool:
        """Whether ``word`` only says how the shell goes on."""
        words = frame.command.words
        begins = not words or (words[0] == "time" and len(words) <= TIME_WORDS_MAX and _TIME.issuperset(words))
        if word == "case" and frame.substituted and (begins or frame.coproc):
            self._doubt("the parentheses of a case inside a substitution cannot be told from its end")
            frame.cases += 1
        elif word == "esac" and frame.cases:
            frame.cases -= 1
        if word in RESERVED and (begins or (frame.coproc and len(words) == 1)):
            words.clear()  # ``time``, or the name of a coprocess
            frame.coproc = word == "coproc"
            return True
        if word == "function" and not words:
            frame.role = Role.NAME
            return True
        if not literal and (word == "]]" or (word == "[[" and begins)):
            frame.testing = word == "[["
        return False

    def _end_command(self, frame: Frame, *, pipe: bool) -> None:
        self._end_word(frame)
        if frame.role in DELIMITERS:
            self._doubt("a here-document names no end")
        frame.role = Role.WORD
        frame.coproc = False
        frame.assignments = 0
        ended = frame.command
        if not ended.is_empty or (frame.heredocs and frame.heredocs[-1].command is ended):
            self._keep(frame)
        if not pipe:
            self.script.pipelines += 1
            frame.pipeline = self.script.pipelines

    def _keep(self, frame: Frame) -> None:
        frame.command.pipeline, frame.command.scope = frame.pipeline, frame.scope
        self.script.commands.append(frame.command)
        frame.command = Command()
