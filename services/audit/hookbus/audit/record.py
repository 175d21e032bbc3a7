"""One log entry as bytes: a fixed header that is authenticated in clear, and the event encrypted.

Layout, integers big-endian::

    header (84 bytes, the AAD)              then
    version     1   always 1                nonce        12  random, fresh for each entry
    algorithm   1   see Algorithm           ciphertext    n
    stream      1   see Stream              tag          16
    reserved    1   always 0
    log id     16   names the log
    index       8   place in the log
    event       32  SHA-256 of stream and event id
    time        8   when it was appended, microseconds since 1970 UTC
    key id     16   names the data key

An entry over ``INLINE_BYTES_MAX`` would not fit a C2SP entry bundle, whose lengths are 16 bits. Its record then holds,
in place of ciphertext and tag, their SHA-256 and length (algorithm ``AES_256_GCM_DETACHED``), and they lie beside it.
"""

import struct
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION: Final = 1
LOG_ID_BYTES: Final = 16
KEY_ID_BYTES: Final = 16
EVENT_HASH_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
DIGEST_BYTES: Final = 32
RECORD_BYTES_MAX: Final = 65_535
"""The longest entry of a C2SP entry bundle."""

_HEADER: Final = struct.Struct(f">BBBB{LOG_ID_BYTES}sQ{EVENT_HASH_BYTES}sQ{KEY_ID_BYTES}s")
_DETACHED: Final = struct.Struct(f">{DIGEST_BYTES}sQ")
HEADER_BYTES: Final = _HEADER.size
RECORD_BYTES_MIN: Final = HEADER_BYTES + NONCE_BYTES + TAG_BYTES
INLINE_BYTES_MAX: Final = RECORD_BYTES_MAX - HEADER_BYTES - NONCE_BYTES - TAG_BYTES
"""The longest plaintext that lies in the record itself."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EVENT_DOMAIN: Final = b"hookbus event id\x00"


class Algorithm(IntEnum):
    """How the event is encrypted and where the ciphertext lies."""

    AES_256_GCM = 1
    AES_256_GCM_DETACHED = 2


class Stream(IntEnum):
    """Where an event came from: ids are unique within a stream, so that no hook can take a security event's id."""

    LOG = 0
    """Entries the log writes about itself."""
    HOOKS = 1
    SECURITY = 2


_EVENT_DOMAINS: Final[dict[int, bytes]] = {stream.value: _EVENT_DOMAIN + bytes([stream]) for stream in Stream}


class RecordInvalidError(Exception):
    """A record is malformed, or does not open under its key; the text says what."""


def event_hash(stream: int, event_id: str) -> bytes:
    """What the header holds in place of the event id, whose length varies. ``stream`` is a :class:`Stream`."""
    return sha256(_EVENT_DOMAINS[stream] + event_id.encode()).digest()


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """The moment, UTC. Raises RecordInvalidError beyond what a datetime holds."""
    try:
        return _EPOCH + timedelta(microseconds=count)
    except OverflowError as error:
        raise RecordInvalidError("the time is out of range") from error


@dataclass(slots=True)
class Header:
    """The clear part of a record. Not frozen, for speed: one is made for every entry."""

    log_id: bytes
    index: int
    stream: int
    event: bytes
    time_us: int
    key_id: bytes
    algorithm: int = Algorithm.AES_256_GCM

    def pack(self) -> bytes:
        """The 84 bytes."""
        return _HEADER.pack(
            VERSION,
            self.algorithm,
            self.stream,
            0,
            self.log_id,
            self.index,
            self.event,
            self.time_us,
            self.key_id,
        )


@dataclass(slots=True)
class Sealed:
    """A record, and the detached ciphertext with its tag where the record only holds their digest."""

    record: bytes
    detached: bytes | None = None


def seal(header: Header, plaintext: bytes, cipher: AESGCM, nonce: bytes) -> Sealed:
    """Encrypt one event. ``nonce`` must be random and never used before; ``header.algorithm`` is set here."""
    inline = len(plaintext) <= INLINE_BYTES_MAX
    if not inline:
        header = replace(header, algorithm=Algorithm.AES_256_GCM_DETACHED)
    aad = header.pack()
    ciphertext = cipher.encrypt(nonce, plaintext, aad)
    if inline:
        return Sealed(aad + nonce + ciphertext)
    return Sealed(aad + nonce + _DETACHED.pack(sha256(ciphertext).digest(), len(ciphertext)), ciphertext)


def parse_header(record: bytes) -> Header:
    """The header of a record; raises RecordInvalidError for what is not one of this version."""
    if len(record) < RECORD_BYTES_MIN:
        raise RecordInvalidError("the record is too short")
    version, algorithm, stream, reserved, log_id, index, event, time_us, key_id = _HEADER.unpack_from(record)
    if version != VERSION or reserved:
        raise RecordInvalidError(f"the record is of unknown version {version}")
    if algorithm not in (Algorithm.AES_256_GCM, Algorithm.AES_256_GCM_DETACHED):
        raise RecordInvalidError(f"the record is of unknown algorithm {algorithm}")
    return Header(log_id, index, stream, event, time_us, key_id, algorithm)


def begins_with(record: bytes, header: Header) -> bool:
    """Whether a record of full length begins with exactly this header."""
    try:
        return len(record) >= RECORD_BYTES_MIN and record.startswith(header.pack())
    except struct.error:
        return False


def ciphertext_of(record: bytes, header: Header, detached: bytes | None) -> bytes:
    """Ciphertext and tag, wherever they lie. RecordInvalidError where a detached part is absent, changed or surplus."""
    rest = record[HEADER_BYTES + NONCE_BYTES :]
    if header.algorithm == Algorithm.AES_256_GCM:
        if detached is not None:
            raise RecordInvalidError("the record has a detached part it does not name")
        return rest
    if len(rest) != _DETACHED.size:
        raise RecordInvalidError("the record does not name its detached part")
    digest, length = _DETACHED.unpack(rest)
    if detached is None or len(detached) != length or sha256(detached).digest() != digest:
        raise RecordInvalidError("the detached part of the record is absent or changed")
    return detached


def open_record(record: bytes, detached: bytes | None, cipher: AESGCM, header: Header | None = None) -> bytes:
    """The event's bytes; raises RecordInvalidError where the record was changed or the key is another.

    ``header`` spares parsing a record that was parsed before.
    """
    header = header or parse_header(record)
    ciphertext = ciphertext_of(record, header, detached)
    try:
        return cipher.decrypt(record[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES], ciphertext, record[:HEADER_BYTES])
    except InvalidTag as error:
        raise RecordInvalidError("the record does not decrypt under its key") from error
