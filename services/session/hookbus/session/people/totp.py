"""One-time codes by time (RFC 6238): each code counts once."""

import hmac
from datetime import datetime
from typing import Final

from pyotp import random_base32
from pyotp.totp import TOTP
from sqlalchemy.ext.asyncio import AsyncConnection

from hookbus.session.domain.people import User
from hookbus.session.people.vault import Vault
from hookbus.session.repository import users

STEP_S: Final = 30
STEPS_EITHER_SIDE: Final = 1
"""Codes of the step before and after are taken too, for clocks that differ."""
ISSUER: Final = "hookbus"


def new_secret() -> str:
    """A random secret in base32."""
    return random_base32()


def uri(secret: str, username: str) -> str:
    """What an authenticator application reads as a QR code."""
    return TOTP(secret, interval=STEP_S).provisioning_uri(name=username, issuer_name=ISSUER)


def step_of(secret: str, code: str, now: datetime) -> int | None:
    """The time step ``code`` belongs to; None for a code of none near ``now``."""
    generator = TOTP(secret, interval=STEP_S)
    current = int(now.timestamp()) // STEP_S
    for step in range(current - STEPS_EITHER_SIDE, current + STEPS_EITHER_SIDE + 1):
        if hmac.compare_digest(code, generator.at(step * STEP_S)):
            return step
    return None


async def accepted(connection: AsyncConnection, vault: Vault, user: User, code: str | None, now: datetime) -> bool:
    """Whether ``code`` lets the user in: true for a user without TOTP, else once for each code."""
    if user.totp_secret is None:
        return True
    secret = vault.open(user.totp_secret, user.username)
    step = None if secret is None or code is None else step_of(secret, code, now)
    return step is not None and await users.use_step(connection, user.username, step)
