"""What reading shell text gives, and what the reader keeps meanwhile."""

from dataclasses import dataclass, field


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
class Script:
    """What a text says. Commands stand in no promised order, those inside substitutions included."""

    commands: list[Command] = field(default_factory=list[Command])
    functions: set[str] = field(default_factory=set[str])
    """Names it defines."""
    pipelines: int = 0
    """How many there are."""
    steps: int = 0
    """Tokens that were read."""
    cut: bool = False
    """The text has more tokens than were allowed."""
    fault: str | None = None
    """Why a shell could not read the rest of it either. What stands before may run all the same."""


@dataclass
class Frame:
    """One nesting level: the command being read and the word being read."""

    closer: str
    command: Command = field(default_factory=Command)
    pipeline: int = 0
    word: list[str] | None = None
    quoted: bool = False
    """Inside double quotes."""
    document: bool = False
    """The body of a here-document: as if quoted, and a quote is a letter."""
    redirect: bool = False
    """The next word is the target of a write."""
    skip_word: bool = False
    """The next word is the source of a read."""
