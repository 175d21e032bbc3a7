"""API keys: their text, their hash, and the record a gateway checks them by."""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from hookbus.contracts.session import ApiKeyRecord, KeyScope, KeyView

KEY_ID_CHARS: Final = 12
KEY_ID_ALPHABET: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
KEY_SECRET_BYTES: Final = 32

RandomBytes: TypeAlias = Callable[[int], bytes]
"""Takes a count and returns that many unpredictable bytes."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key as the database keeps it: the hash of its text, never the text."""

    key_id: str
    name: str
    secret_sha256: str
    scopes: frozenset[KeyScope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def record(self) -> ApiKeyRecord:
        """What a gateway needs to check the key."""
        return ApiKeyRecord(
            key_id=self.key_id,
            name=self.name,
            secret_sha256=self.secret_sha256,
            scopes=self.scopes,
            expires_at=self.expires_at,
            revoked=self.revoked_at is not None,
        )

    def view(self) -> KeyView:
        """The key without its hash, for people."""
        return KeyView(
            key_id=self.key_id,
            name=self.name,
            scopes=tuple(sorted(self.scopes)),
            created_at=self.created_at,
            expires_at=self.expires_at,
            revoked_at=self.revoked_at,
        )


def _key_id(random_bytes: RandomBytes) -> str:
    """Twelve characters drawn evenly: bytes past the last whole multiple of the alphabet are thrown away."""
    even_below = 256 - 256 % len(KEY_ID_ALPHABET)
    chars: list[str] = []
    while len(chars) < KEY_ID_CHARS:
        for byte in random_bytes(KEY_ID_CHARS):
            if byte < even_below and len(chars) < KEY_ID_CHARS:
                chars.append(KEY_ID_ALPHABET[byte % len(KEY_ID_ALPHABET)])
    return "".join(chars)


def hash_of(api_key: str) -> str:
    """SHA-256 of the whole text, hex. The text holds 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(api_key.encode()).hexdigest()


def mint(
    *, name: str, scopes: frozenset[KeyScope], ttl_s: int | None, now: datetime, random_bytes: RandomBytes
) -> tuple[StoredKey, str]:
    """A new key and its text, which only the caller ever holds."""
    key_id = _key_id(random_bytes)
    secret = base64.urlsafe_b64encode(random_bytes(KEY_SECRET_BYTES)).rstrip(b"=").decode()
    api_key = f"hbk_{key_id}_{secret}"
    expires_at = None if ttl_s is None else now + timedelta(seconds=ttl_s)
    stored = StoredKey(key_id, name, hash_of(api_key), scopes, created_at=now, expires_at=expires_at)
    return stored, api_key
