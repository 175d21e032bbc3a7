"""What is derived from the service's passphrase: the pepper of refresh tokens, and the key TOTP secrets lie under."""

import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12


class Vault:
    """Derived keys; the passphrase itself is long and random, so one keyed hash each is enough."""

    def __init__(self, passphrase: str) -> None:
        self.pepper: Final = hmac.digest(passphrase.encode(), b"hookbus refresh tokens", "sha256")
        self._totp = AESGCM(hmac.digest(passphrase.encode(), b"hookbus totp secrets", "sha256"))

    def seal(self, secret: str, username: str) -> bytes:
        """A TOTP secret for storing; it opens under the same username only."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._totp.encrypt(nonce, secret.encode(), username.encode())

    def open(self, sealed: bytes, username: str) -> str | None:
        """The TOTP secret, None where the passphrase is another one."""
        try:
            return self._totp.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], username.encode()).decode()
        except InvalidTag:
            return None
