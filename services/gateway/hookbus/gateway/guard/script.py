"""What reading shell text gives, and what the reader keeps meanwhile."""

from dataclasses import dataclass, field
from enum import Enum


class UnreadableShellError(ValueError):
    """The text ends inside a quote or a substitution, or nests too deep."""


@dataclass(slots=True)
class Command:
    """One simple command."""

    words: list[str] = field(default_factory=list[str])
    writes: list[str] = field(default_factory=list[str])
    """Targets of ``>`` and its kin."""
    reads: list[str] = field(default_factory=list[str])
    """Sources of ``<``."""
    documents: list[str] = field(default_factory=list[str])
    """Its here-documents and here-strings: what it is fed."""
    pipeline: int = 0
    """Commands of one pipeline have the same number and stand in its order."""
    scope: int = 0
    """The shell that runs it: a number of :attr:`Script.scopes`."""

    @property
    def is_empty(self) -> bool:
        """Whether it neither runs nor opens anything."""
        return not (self.words or self.writes or self.reads or self.documents)


@dataclass
class Script:
    """What a text says. Commands stand in the order in which they end, those inside a substitution before its own."""

    commands: list[Command] = field(default_factory=list[Command])
    functions: set[str] = field(default_factory=set[str])
    """Names it defines."""
    pipelines: int = 0
    """How many there are."""
    scopes: list[int] = field(default_factory=list[int])
    """For each shell (the first one, each subshell, each substitution) the one that starts it; -1 for the first."""
    steps: int = 0
    """Tokens that were read."""
    cut: bool = False
    """The text has more tokens than were allowed."""
    fault: str | None = None
    """Why part of it is unread or may have been misread. The rest may run all the same."""

    def inner_scope(self, outer: int) -> int:
        """A new shell that ``outer`` starts."""
        self.scopes.append(outer)
        return len(self.scopes) - 1


class Role(Enum):
    """What the next word is for."""

    WORD = "word"
    WRITE = "the target of a write"
    READ = "the source of a read"
    TEXT = "a here-string"
    DELIMITER = "the last line of a here-document"
    INDENTED_DELIMITER = "the same after tabs"
    NAME = "a function's name"


DELIMITERS = (Role.DELIMITER, Role.INDENTED_DELIMITER)


@dataclass(frozen=True)
class Heredoc:
    """A here-document whose body is still to come."""

    command: Command
    delimiter: str
    indented: bool
    """Tabs before each line are dropped."""
    expanded: bool
    """The body is filled in by the shell: its delimiter is not quoted."""


@dataclass(slots=True)
class Frame:
    """One nesting level: the command being read and the word being read."""

    closer: str
    command: Command = field(default_factory=Command)
    pipeline: int = 0
    scope: int = 0
    heredocs: list[Heredoc] = field(default_factory=list[Heredoc])
    """To be read at the next line end."""

    word: list[str] | None = None
    role: Role = Role.WORD
    literal: bool = False
    """Part of the word is quoted."""
    braces: bool = False
    """The word holds a brace that is not quoted."""
    subscript: int = 0
    """Brackets of ``name[`` that are open in the word."""
    assignments: int = 0
    """How many words of the command stand before its name."""
    coproc: bool = False
    """The command follows ``coproc``."""

    quoted: bool = False
    """Inside double quotes."""
    document: bool = False
    """The body of a here-document: as if quoted, and a quote is a letter."""
    substituted: bool = False
    """Inside a substitution, which its first free parenthesis ends."""
    arithmetic: bool = False
    """``<<`` and ``#`` are operators of arithmetic."""
    cases: int = 0
    """Of a substitution: how many ``case`` are open in it, whose patterns end in parentheses."""
    doubled: bool = False
    """The inner one of two parentheses, arithmetic only if both close together."""
    shifted: bool = False
    """It holds what arithmetic and commands read differently."""
    testing: bool = False
    """Between ``[[`` and ``]]``."""
    odd: bool = False
    """Parentheses inside a word or a test, where ``#`` begins no comment."""
    listing: bool = False
    """The values of an array."""
    expansion: bool = False
    """``${...}``: letters, but for quotes and substitutions."""
    enclosed: bool = False
    """An expansion inside double quotes or a here-document."""
    alternative: bool = False
    """An expansion with a text to use instead, in which ``'`` is a letter where it is enclosed."""
