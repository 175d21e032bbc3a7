"""Words in disguise: what ``$'...'`` and ``{a,b}`` become before a program sees them."""

import re
from typing import Final

ESCAPED_CHARS_MAX: Final = 1_024
"""Of one ``$'...'`` with escapes that need decoding."""

_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_UNICODE_MAX: Final = 0x10FFFF


def decoded(body: str) -> str | None:
    """The inside of ``$'...'`` as the shell reads it; None where it holds too much to decode."""
    if "\\" not in body:
        return body
    if len(body) > ESCAPED_CHARS_MAX:
        return None
    return _ESCAPE.sub(_one, body)


def _one(escape: re.Match[str]) -> str:
    hexadecimal = escape[1] or escape[2] or escape[3]
    if hexadecimal is not None or escape[4] is not None:
        number = int(hexadecimal, 16) if hexadecimal is not None else int(escape[4], 8) & 0xFF
        return chr(number) if 0 < number <= _UNICODE_MAX else ""
    if escape[5] is not None:
        return chr(ord(escape[5]) & 0x1F)
    return _LETTERS.get(escape[6], escape[6])


def brace_expanded(word: str) -> list[str]:
    """``{rm,-rf,/}`` as the words it becomes; any other word alone. Braces inside braces are left as they stand."""
    inside = word[1:-1]
    if word[:1] != "{" or word[-1:] != "}" or "," not in inside or "{" in inside:
        return [word]
    return [part for part in inside.split(",") if part]
