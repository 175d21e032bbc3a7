"""``{a,b}`` and ``{a..c}``: the words that a shell makes of one."""

import re
from dataclasses import dataclass, field
from typing import Final

PIECES_MAX: Final = 512
NESTING_MAX: Final = 16
WORDS_MAX: Final = 256
CHARS_MAX: Final = 16_384
"""Of all the words together."""

_PIECE: Final = re.compile(r"(\$\{|[{},])")
_LETTERS: Final = re.compile(r"(.)\.\.(.)(?:\.\.-?[0-9]+)?").fullmatch
_NUMBERS: Final = re.compile(r"(-?[0-9]+)\.\.(-?[0-9]+)(?:\.\.-?[0-9]+)?").fullmatch


@dataclass
class _Choice:
    alternatives: list[list["str | _Choice"]]


_Parts = list[str | _Choice]


@dataclass
class _Group:
    """A brace that is not closed yet."""

    opener: str
    outer: _Parts
    alternatives: list[_Parts] = field(default_factory=list[_Parts])

    def closed(self) -> _Parts:
        """What it is with its closing brace: a choice, or the letters it was written with."""
        first = self.alternatives[0]
        if self.opener == "{":
            if len(self.alternatives) > 1:
                return [_Choice(self.alternatives)]
            if len(first) == 1 and isinstance(first[0], str) and (ends := _sequence(first[0])):
                return [_Choice([[one] for one in ends])]
        return [*self.unclosed(), "}"]

    def unclosed(self) -> _Parts:
        """The letters it was written with."""
        parts: _Parts = [self.opener]
        for number, alternative in enumerate(self.alternatives):
            parts.extend([",", *alternative] if number else alternative)
        return parts


def _sequence(text: str) -> list[str]:
    """The words of ``a..c``. Of numbers the ends alone: no program and no folder to protect is named by one."""
    if numbers := _NUMBERS(text):
        return [numbers[1], numbers[2]]
    if letters := _LETTERS(text):
        first, last = ord(letters[1]), ord(letters[2])
        step = 1 if first <= last else -1
        return [chr(one) for one in range(first, last + step, step)[: WORDS_MAX + 1]]
    return []


def braced_words(word: str) -> list[str] | None:
    """The words that braces make of ``word``, or it alone; None where they are too many to look at."""
    if "}" not in word or ("," not in word and ".." not in word):
        return [word]
    if sum(map(word.count, "{},")) * 2 > PIECES_MAX:
        return None
    parts = _parsed(_PIECE.split(word))
    if parts is None:
        return None
    count = _count(parts)
    if count > WORDS_MAX or count * len(word) > CHARS_MAX:
        return None
    return [made for made in _words(parts) if made]


def _parsed(pieces: list[str]) -> _Parts | None:
    """Letters and choices; None where braces nest too deep."""
    current: _Parts = []
    groups: list[_Group] = []
    for piece in pieces:
        if piece in ("{", "${"):
            if len(groups) >= NESTING_MAX:
                return None
            groups.append(_Group(piece, current))
            current = []
        elif piece == "," and groups:
            groups[-1].alternatives.append(current)
            current = []
        elif piece == "}" and groups:
            group = groups.pop()
            group.alternatives.append(current)
            current = [*group.outer, *group.closed()]
        elif piece:
            current.append(piece)
    while groups:
        group = groups.pop()
        group.alternatives.append(current)
        current = [*group.outer, *group.unclosed()]
    return current


def _count(parts: _Parts) -> int:
    """How many words they make, or more than are looked at."""
    count = 1
    for part in parts:
        if isinstance(part, _Choice):
            count = min(count * sum(map(_count, part.alternatives)), WORDS_MAX + 1)
    return count


def _words(parts: _Parts) -> list[str]:
    words = [""]
    for part in parts:
        ends = [part] if isinstance(part, str) else [end for one in part.alternatives for end in _words(one)]
        words = [word + end for word in words for end in ends]
    return words
