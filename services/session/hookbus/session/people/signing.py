"""Access tokens: the ring of Ed25519 keys, its rotation, and the tokens it signs."""

import asyncio
import secrets
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey
from sqlalchemy.exc import SQLAlchemyError

from hookbus.contracts.people import TOKEN_ALGORITHM, TOKEN_AUDIENCE, TOKEN_ISSUER, JwksReply, PublicKey
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import Database
from hookbus.session.domain.people import PersonSession
from hookbus.session.repository import signing_keys
from hookbus.session.repository.signing_keys import StoredSigningKey

ACCESS_TOKEN_TTL_S: Final = 3_600
KEY_AGE_MAX_S: Final = 30 * 86_400.0
"""After this a new key signs."""
KEY_LINGER_S: Final = ACCESS_TOKEN_TTL_S + 300.0
"""How long a key is published after another took its place: its last token's life and some clock difference."""
REFRESH_INTERVAL_S: Final = 60.0
RETRY_INTERVAL_S: Final = 1.0
RETRY_AFTER_S: Final = 1.0

# RFC 9864 renames the algorithm; every library of the day reads the old name, and not every one the new.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Ring:
    signer_kid: str
    signer: OKPKey
    published: JwksReply


class Signer:
    """Signs access tokens with the newest key. Every process of the service shares the ring through the database."""

    def __init__(self, database: Database, passphrase: str, now: Callable[[], datetime]) -> None:
        self._database = database
        self._passphrase = passphrase.encode()
        self._now = now
        self._ring: _Ring | None = None

    def issue(self, session: PersonSession) -> str:
        """An access token of :data:`ACCESS_TOKEN_TTL_S` for a live session.

        Raises:
            ProblemError: ``unavailable`` while no key is loaded.
        """
        ring = self._loaded()
        issued_s = int(self._now().timestamp())
        claims = {
            "iss": TOKEN_ISSUER,
            "aud": TOKEN_AUDIENCE,
            "sub": session.username,
            "sid": session.sid,
            "epoch": session.epoch,
            "iat": issued_s,
            "exp": issued_s + ACCESS_TOKEN_TTL_S,
            "jti": secrets.token_hex(16),
        }
        header = {"alg": TOKEN_ALGORITHM, "kid": ring.signer_kid}
        return jwt.encode(header, claims, ring.signer, algorithms=[TOKEN_ALGORITHM])

    def published(self) -> JwksReply:
        """The public keys whose tokens may live."""
        return self._loaded().published

    async def refresh(self) -> None:
        """Load the ring; make a key where there is none or the newest is too old; forget those that are over."""
        now = self._now()
        async with self._database.begin() as connection:
            stored = list(await signing_keys.lock_all(connection))
            over = [
                old.kid for old, newer in pairwise(stored) if (now - newer.created_at).total_seconds() > KEY_LINGER_S
            ]
            await signing_keys.delete(connection, over)
            kept = [one for one in stored if one.kid not in over]
            signer = await asyncio.to_thread(self._open, kept[-1]) if kept else None
            if signer is None or now - kept[-1].created_at > timedelta(seconds=KEY_AGE_MAX_S):
                made, signer = await asyncio.to_thread(self._make, now)
                await signing_keys.insert(connection, made)
                kept.append(made)
                log.info("signing key made", kid=made.kid)
        published = JwksReply(keys=tuple(PublicKey(x=one.public_x, kid=one.kid) for one in kept))
        self._ring = _Ring(kept[-1].kid, signer, published)

    async def refresh_forever(self) -> None:
        """The background task."""
        while True:
            try:
                await self.refresh()
                pause_s = REFRESH_INTERVAL_S
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                log.warning("signing keys wait", error=type(error).__name__)
                pause_s = RETRY_INTERVAL_S
            await asyncio.sleep(pause_s)

    def _loaded(self) -> _Ring:
        if self._ring is None:
            raise ProblemError(ProblemCode.UNAVAILABLE, "no signing key is loaded yet", retry_after_s=RETRY_AFTER_S)
        return self._ring

    def _open(self, stored: StoredSigningKey) -> OKPKey | None:
        try:
            key = load_pem_private_key(stored.private_pem.encode(), self._passphrase)
        except ValueError:
            log.warning("signing key cannot be opened with this passphrase", kid=stored.kid)
            return None
        assert isinstance(key, Ed25519PrivateKey)
        return OKPKey.import_key(key)

    def _make(self, now: datetime) -> tuple[StoredSigningKey, OKPKey]:
        private = Ed25519PrivateKey.generate()
        key = OKPKey.import_key(private)
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(self._passphrase))
        public_x = str(key.as_dict(private=False)["x"])
        return StoredSigningKey(key.thumbprint(), public_x, pem.decode(), now), key
