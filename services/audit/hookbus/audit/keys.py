"""Keys of the log: a key-encryption key from a passphrase, and data keys for each subject and period wrapped by it.

A subject's events of one period share a data key; destroying a subject's data keys makes its events unreadable for
good, while every hash of the log still stands. Whoever lacks the key-encryption key reads nothing.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import pbkdf2_hmac, sha256
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap_with_padding,
    aes_key_wrap_with_padding,
)

from hookbus.audit.record import KEY_ID_BYTES, Stream

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
ITERATIONS: Final = 600_000
ITERATIONS_MIN: Final = 600_000
"""The floor enforced when stored parameters are loaded: whoever can write the table cannot weaken the derivation."""
ITERATIONS_MAX: Final = 100_000_000
PASSPHRASE_BYTES_MIN: Final = 16
ENTRIES_PER_KEY_MAX: Final = 2**26
"""Entries under one data key. With random 96-bit nonces, two alike are then less likely than 2**-44."""

KDF_NAME: Final = "PBKDF2-HMAC-SHA256"
KDF_FILE: Final = "FILE"
"""No derivation: the key-encryption key lies in a file as it is."""
BLIND_TAG_BYTES: Final = 16
LOG_SUBJECT: Final = "log"
"""The subject of the log's own entries. No agent's subject is this: those begin with ``agent:``."""

_COMMITMENT_DOMAIN: Final = b"hookbus data key commitment\x00"
_CHECK_DOMAIN: Final = b"hookbus key-encryption key check\x00"

Randomness = Callable[[int], bytes]


class KeyUnusableError(Exception):
    """A key cannot be derived, unwrapped or used further; the text says why and holds no secret."""


@dataclass(frozen=True, slots=True)
class KekParameters:
    """How a key-encryption key is derived, and how to tell the right one from a wrong one."""

    salt: bytes
    iterations: int
    check: bytes
    kdf: str = KDF_NAME


class KeyEncryptionKey:
    """Wraps data keys (AES-256-KWP, RFC 5649)."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise KeyUnusableError(f"a key-encryption key is {KEY_BYTES} bytes")
        self._key = key

    def __repr__(self) -> str:
        return "KeyEncryptionKey(...)"

    @property
    def check(self) -> bytes:
        """A value that tells this key from another and says nothing else about it."""
        return hmac.digest(self._key, _CHECK_DOMAIN, "sha256")

    def wrap(self, data_key: bytes) -> bytes:
        """The wrapped key."""
        return aes_key_wrap_with_padding(self._key, data_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Raises KeyUnusableError where the wrapped key was changed or is another key-encryption key's."""
        try:
            data_key = aes_key_unwrap_with_padding(self._key, wrapped)
        except (InvalidUnwrap, ValueError) as error:
            raise KeyUnusableError("a wrapped data key does not open under the key-encryption key") from error
        if len(data_key) != KEY_BYTES:
            raise KeyUnusableError("a wrapped data key has the wrong length")
        return data_key


def _derive(passphrase: bytes, salt: bytes, iterations: int) -> KeyEncryptionKey:
    if len(passphrase) < PASSPHRASE_BYTES_MIN:
        raise KeyUnusableError(f"the audit passphrase is shorter than {PASSPHRASE_BYTES_MIN} bytes")
    if not ITERATIONS_MIN <= iterations <= ITERATIONS_MAX:
        raise KeyUnusableError(f"the stored iteration count {iterations} is below the floor of {ITERATIONS_MIN}")
    if len(salt) < SALT_BYTES:
        raise KeyUnusableError("the stored salt is too short")
    return KeyEncryptionKey(pbkdf2_hmac("sha256", passphrase, salt, iterations, KEY_BYTES))


def create_kek(passphrase: bytes, randomness: Randomness) -> tuple[KeyEncryptionKey, KekParameters]:
    """A new key-encryption key and the parameters to store. Takes a tenth of a second."""
    salt = randomness(SALT_BYTES)
    kek = _derive(passphrase, salt, ITERATIONS)
    return kek, KekParameters(salt, ITERATIONS, kek.check)


def load_kek(passphrase: bytes, parameters: KekParameters) -> KeyEncryptionKey:
    """The key-encryption key again; raises KeyUnusableError for a wrong passphrase or weakened parameters."""
    if parameters.kdf != KDF_NAME:
        raise KeyUnusableError("the log's key-encryption key is not derived from a passphrase")
    kek = _derive(passphrase, parameters.salt, parameters.iterations)
    if not hmac.compare_digest(kek.check, parameters.check):
        raise KeyUnusableError("the audit passphrase is not the one the log was written with")
    return kek


def file_kek(key: bytes) -> tuple[KeyEncryptionKey, KekParameters]:
    """A key-encryption key that lies in a file, and the parameters to store."""
    kek = KeyEncryptionKey(key)
    return kek, KekParameters(b"", 0, kek.check, KDF_FILE)


def load_file_kek(key: bytes, parameters: KekParameters) -> KeyEncryptionKey:
    """The same again; raises KeyUnusableError for another key."""
    if parameters.kdf != KDF_FILE:
        raise KeyUnusableError("the log's key-encryption key is not one of a key file")
    kek = KeyEncryptionKey(key)
    if not hmac.compare_digest(kek.check, parameters.check):
        raise KeyUnusableError("the audit key file is not the one the log was written with")
    return kek


def subject_of(stream: Stream, agent_id: str) -> str:
    """Whose data key encrypts an event."""
    return LOG_SUBJECT if stream is Stream.LOG else f"agent:{agent_id}"


def period_of(moment: datetime) -> str:
    """The period a data key serves: a calendar month of UTC, ``2026-11``."""
    return moment.astimezone(UTC).strftime("%Y-%m")


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key in use. ``commitment`` goes into the log when the key is made, so that no other can take its place."""

    key_id: bytes
    subject: str
    period: str
    key: bytes
    commitment: bytes

    def __repr__(self) -> str:
        return f"DataKey(key_id={self.key_id.hex()})"

    @property
    def cipher(self) -> AESGCM:
        """The AEAD of this key."""
        return AESGCM(self.key)


def commitment_of(key_id: bytes, key: bytes) -> bytes:
    """A binding and hiding commitment to a random 256-bit key."""
    return sha256(_COMMITMENT_DOMAIN + key_id + key).digest()


def create_data_key(subject: str, period: str, randomness: Randomness) -> DataKey:
    """A new random data key."""
    key_id, key = randomness(KEY_ID_BYTES), randomness(KEY_BYTES)
    return DataKey(key_id, subject, period, key, commitment_of(key_id, key))


def unwrap_data_key(
    kek: KeyEncryptionKey, *, key_id: bytes, subject: str, period: str, wrapped: bytes, commitment: bytes
) -> DataKey:
    """A stored data key; raises KeyUnusableError where it is not the one committed to."""
    key = kek.unwrap(wrapped)
    if not hmac.compare_digest(commitment_of(key_id, key), commitment):
        raise KeyUnusableError(f"data key {key_id.hex()} is not the one that was committed to")
    return DataKey(key_id, subject, period, key, commitment)


def blind(key: bytes, field: str, value: str) -> bytes:
    """A search tag: equal for equal values, meaningless without ``key``. 16 bytes."""
    return hmac.digest(key, field.encode() + b"\x00" + value.encode(), "sha256")[:BLIND_TAG_BYTES]
