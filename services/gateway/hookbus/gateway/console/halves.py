"""A refresh token in two halves, each worthless alone.

The cookie's half is out of reach of scripts; the other lies in the storage of the page's own origin, which no other
port of the machine can read. Whoever has one of them has random bytes.
"""

import base64
import binascii
import secrets
from typing import NamedTuple


class Halves(NamedTuple):
    """Both as base64url text. ``cookie`` goes into an HttpOnly cookie, ``page`` to the page."""

    cookie: str
    page: str


def split(token: str) -> Halves:
    """A token under a pad that is used once."""
    secret = token.encode()
    pad = secrets.token_bytes(len(secret))
    return Halves(_text(pad), _text(_xor(secret, pad)))


def join(halves: Halves) -> str | None:
    """The token; None where the halves are not of one token's form."""
    try:
        pad, sealed = _bytes(halves.cookie), _bytes(halves.page)
        if len(pad) != len(sealed):
            return None
        return _xor(sealed, pad).decode("ascii")
    except (ValueError, binascii.Error):
        return None


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, altchars=b"-_", validate=True)
