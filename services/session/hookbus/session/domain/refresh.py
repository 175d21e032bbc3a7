"""Refresh tokens: their text, and what each one presented means.

The text holds the session, the generation, 256 secret bits and a tag that only this service can make. Stored are the
SHA-256 of the current token and of its immediate predecessor. The tag tells an older token of ours, which ends the
session, from one that somebody made up, which must not be able to.

A successor is derived from its predecessor, a random salt stored at the rotation, and a secret outside the database:
so a client whose answer was lost can be given the same successor again although no token is stored.
"""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Final

from hookbus.session.domain.people import PersonSession

SECRET_BYTES: Final = 32
SALT_BYTES: Final = 32
TAG_BYTES: Final = 16
GRACE_S: Final = 30.0
"""How long the immediate predecessor is answered with the same successor."""

_TOKEN: Final = re.compile(r"hbr_(person-[0-9a-f]{32})_([0-9]{1,15})_([A-Za-z0-9_-]{64})", re.ASCII)


class Meaning(Enum):
    """What a presented token is."""

    ROTATES = auto()
    REPEATS = auto()
    """The immediate predecessor within the grace: the same successor once more."""
    REUSED = auto()
    """A token of ours that was replaced: somebody holds a copy."""
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Presented:
    """A token's parts."""

    text: str
    sid: str
    generation: int
    secret: bytes
    tag: bytes

    @property
    def sha256(self) -> str:
        """What is stored of the token."""
        return digest(self.text)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The meaning of a token, with the session after it and the successor where there is one."""

    meaning: Meaning
    session: PersonSession
    successor: str | None = None


def digest(text: str) -> str:
    """SHA-256 of a token's whole text, hex. It holds 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(text.encode()).hexdigest()


def mint(sid: str, generation: int, secret: bytes, pepper: bytes) -> str:
    """A token's text."""
    body = secret + _tag(sid, generation, secret, pepper)
    return f"hbr_{sid}_{generation}_{base64.urlsafe_b64encode(body).decode()}"


def parse(text: str) -> Presented | None:
    """The parts of a token, None for text that is none. Says nothing yet about who made it."""
    match = _TOKEN.fullmatch(text)
    if match is None:
        return None
    try:
        body = base64.b64decode(match[3], altchars=b"-_", validate=True)
    except binascii.Error:
        return None
    return Presented(text, match[1], int(match[2]), body[:SECRET_BYTES], body[SECRET_BYTES:])


def judge(session: PersonSession, shown: Presented, now: datetime, *, pepper: bytes, salt: bytes) -> Judgement:
    """What ``shown`` means to its session, whose row is locked. ``salt`` is fresh and used where the token rotates."""
    if session.ended_at is not None or session.expires_at <= now:
        return Judgement(Meaning.UNKNOWN, session)
    if hmac.compare_digest(shown.sha256, session.current_sha256):
        successor = _successor(shown, session.generation + 1, salt, pepper)
        rotated = replace(
            session,
            generation=session.generation + 1,
            current_sha256=digest(successor),
            previous_sha256=session.current_sha256,
            salt=salt,
            rotated_at=now,
        )
        return Judgement(Meaning.ROTATES, rotated, successor)
    if session.previous_sha256 is not None and hmac.compare_digest(shown.sha256, session.previous_sha256):
        successor = _successor(shown, session.generation, session.salt, pepper)
        fresh = 0.0 <= (now - session.rotated_at).total_seconds() <= GRACE_S
        if fresh and hmac.compare_digest(digest(successor), session.current_sha256):
            return Judgement(Meaning.REPEATS, session, successor)
        return Judgement(Meaning.REUSED, session)
    genuine = hmac.compare_digest(_tag(shown.sid, shown.generation, shown.secret, pepper), shown.tag)
    return Judgement(Meaning.REUSED if genuine else Meaning.UNKNOWN, session)


def _successor(shown: Presented, generation: int, salt: bytes, pepper: bytes) -> str:
    secret = hmac.digest(pepper, b"successor" + salt + shown.text.encode(), "sha256")
    return mint(shown.sid, generation, secret, pepper)


def _tag(sid: str, generation: int, secret: bytes, pepper: bytes) -> bytes:
    return hmac.digest(pepper, b"tag" + f"{sid}_{generation}_".encode() + secret, "sha256")[:TAG_BYTES]
