"""Text in disguise: what ``$'...'`` and the inside of backticks become before they are read."""

import re
from typing import Final

ESCAPED_CHARS_MAX: Final = 1_024
"""Of one ``$'...'`` with escapes that need decoding."""

_ESCAPE: Final = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_LETTERS: Final = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "e": "\x1b"}
_UNICODE_MAX: Final = 0x10FFFF
_BACKTICK_ESCAPE: Final = re.compile(r"\\([\\`$])")
_BACKTICK_ESCAPE_QUOTED: Final = re.compile(r"""\\([\\`$"])""")


def decoded(body: str) -> str | None:
    """The inside of ``$'...'`` as the shell reads it; None where it holds too much to decode."""
    if "\\" not in body:
        return body
    if len(body) > ESCAPED_CHARS_MAX:
        return None
    return _ESCAPE.sub(_one, body).partition("\0")[0]  # the shell drops what follows a NUL


def _one(escape: re.Match[str]) -> str:
    hexadecimal = escape[1] or escape[2] or escape[3]
    if hexadecimal is not None or escape[4] is not None:
        number = int(hexadecimal, 16) if hexadecimal is not None else int(escape[4], 8) & 0xFF
        return chr(number) if number <= _UNICODE_MAX else ""
    if escape[5] is not None:
        return chr(ord(escape[5]) & 0x1F)
    return _LETTERS.get(escape[6], escape[6])


def unescaped(body: str, *, quoted: bool) -> str:
    """The inside of backticks as the shell reads it, inside double quotes or outside of them."""
    if "\\" not in body:
        return body
    return (_BACKTICK_ESCAPE_QUOTED if quoted else _BACKTICK_ESCAPE).sub(r"\1", body)
