"""C2SP signed notes and tlog checkpoints: text that carries Ed25519 signatures anyone can check with a public key.

A verifier key travels as text, ``<name>+<key id, hex>+<base64 of type byte and public key>``.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hookbus.audit.tree import HASH_BYTES, INDEX_MAX

TYPE_ED25519: Final = 1
TYPE_COSIGNATURE: Final = 4
"""A timestamped cosignature of a checkpoint (C2SP tlog-cosignature)."""

NOTE_BYTES_MAX: Final = 64 * 1024
SIGNATURES_MAX: Final = 32
KEY_ID_BYTES: Final = 4
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
TIMESTAMP_BYTES: Final = 8
TIMESTAMP_MAX: Final = 2**63 - 1

_SIGNATURE_LINE: Final = re.compile(r"\u2014 (\S+) ([A-Za-z0-9+/]+={0,2})")
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class NoteInvalidError(Exception):
    """A note is malformed or no signature of a trusted key holds; the text says what."""


class PrivateKey(Protocol):
    """What signs: a key in this process, or one behind a socket."""

    def sign(self, data: bytes, /) -> bytes:
        """The Ed25519 signature (64 bytes) of ``data``."""
        ...


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key by its name; ``signature_type`` says what it signs."""

    name: str
    public_key: bytes
    signature_type: int = TYPE_ED25519

    def __post_init__(self) -> None:
        if not self.name or "+" in self.name or any(char.isspace() or ord(char) < 0x20 for char in self.name):
            raise ValueError("a key name is not empty and holds no space, control character or plus sign")
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise ValueError(f"an Ed25519 public key is {PUBLIC_KEY_BYTES} bytes")

    @property
    def key_id(self) -> bytes:
        """SHA-256(name, newline, type, public key), the first four bytes."""
        return sha256(self.name.encode() + b"\n" + bytes([self.signature_type]) + self.public_key).digest()[
            :KEY_ID_BYTES
        ]

    @property
    def text(self) -> str:
        """The key as people pass it on."""
        material = base64.b64encode(bytes([self.signature_type]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Raises NoteInvalidError for a text that is not a verifier key."""
        try:
            name, key_id, material = text.strip().split("+", 2)
            decoded = base64.b64decode(material, validate=True)
            key = cls(name, decoded[1:], decoded[0])
        except (ValueError, IndexError) as error:
            raise NoteInvalidError("not a verifier key: expected name+id+base64") from error
        if key.key_id.hex() != key_id or key.signature_type not in (TYPE_ED25519, TYPE_COSIGNATURE):
            raise NoteInvalidError("the verifier key's id does not fit its name and key")
        return key

    def as_type(self, signature_type: int) -> "VerifierKey":
        """The same key for signatures of another type."""
        return VerifierKey(self.name, self.public_key, signature_type)

    def verify(self, text: str, signature: bytes) -> int | None:
        """Check a signature (without its key id) over the note's text; the timestamp of a cosignature, else None.

        Raises:
            NoteInvalidError: it does not hold.
        """
        timestamp: int | None = None
        message = text.encode()
        if self.signature_type == TYPE_COSIGNATURE:
            timestamp = int.from_bytes(signature[:TIMESTAMP_BYTES])
            signature = signature[TIMESTAMP_BYTES:]
            message = cosigned_message(text, timestamp)
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except InvalidSignature as error:
            raise NoteInvalidError(f"the signature of {self.name} does not hold") from error
        return timestamp


def cosigned_message(text: str, timestamp: int) -> bytes:
    """What a cosignature signs: a header, the POSIX time in seconds, the checkpoint's text."""
    return f"cosignature/v1\ntime {timestamp}\n{text}".encode()


@dataclass(frozen=True, slots=True)
class SignatureLine:
    """One line below the text. ``signature`` is what follows the key id."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def text(self) -> str:
        """The line with its newline."""
        return f"\u2014 {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"

    @classmethod
    def parse(cls, line: str) -> "SignatureLine":
        """Raises NoteInvalidError for a malformed line."""
        match = _SIGNATURE_LINE.fullmatch(line)
        if match is None:
            raise NoteInvalidError("a signature line is malformed")
        try:
            decoded = base64.b64decode(match[2], validate=True)
        except binascii.Error as error:
            raise NoteInvalidError("a signature line is not base64") from error
        if len(decoded) <= KEY_ID_BYTES:
            raise NoteInvalidError("a signature line is too short")
        return cls(match[1], decoded[:KEY_ID_BYTES], decoded[KEY_ID_BYTES:])


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A text that ends in a newline, and its signatures."""

    text: str
    signatures: tuple[SignatureLine, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(line.text for line in self.signatures)

    @classmethod
    def parse(cls, note: str) -> "SignedNote":
        """Raises NoteInvalidError for what is not a signed note; checks no signature."""
        if len(note.encode()) > NOTE_BYTES_MAX:
            raise NoteInvalidError(f"a note is at most {NOTE_BYTES_MAX} bytes")
        if any(ord(char) < 0x20 and char != "\n" for char in note):
            raise NoteInvalidError("a note holds no control character")
        text, separator, tail = note.rpartition("\n\n")
        if not separator or not tail.endswith("\n"):
            raise NoteInvalidError("a note is text, an empty line and signature lines")
        lines = tail[:-1].split("\n")
        if len(lines) > SIGNATURES_MAX:
            raise NoteInvalidError(f"a note has at most {SIGNATURES_MAX} signatures")
        return cls(text + "\n", tuple(SignatureLine.parse(line) for line in lines))

    def with_signatures(self, added: Sequence[SignatureLine]) -> "SignedNote":
        """The note with more signatures; one of the same key replaces the earlier one."""
        kept = {(line.name, line.key_id): line for line in self.signatures}
        kept.update({(line.name, line.key_id): line for line in added})
        return SignedNote(self.text, tuple(kept.values()))

    def verified_by(self, keys: Sequence[VerifierKey]) -> Mapping[VerifierKey, int | None]:
        """The keys of ``keys`` that signed, with the timestamps of cosignatures. Signatures of others are ignored.

        Raises:
            NoteInvalidError: a known key's signature does not hold, or no known key signed.
        """
        known = {(key.name, key.key_id): key for key in keys}
        found: dict[VerifierKey, int | None] = {}
        for line in self.signatures:
            key = known.get((line.name, line.key_id))
            if key is not None:
                found[key] = key.verify(self.text, line.signature)
        if not found:
            raise NoteInvalidError("no trusted key has signed the note")
        return found


def sign_text(text: str, key: VerifierKey, private_key: PrivateKey, timestamp: int = 0) -> SignatureLine:
    """Sign a note's text as ``key``; ``timestamp`` (POSIX seconds) is part of a cosignature only."""
    if key.signature_type == TYPE_COSIGNATURE:
        signature = private_key.sign(cosigned_message(text, timestamp))
        return SignatureLine(key.name, key.key_id, timestamp.to_bytes(TIMESTAMP_BYTES) + signature)
    return SignatureLine(key.name, key.key_id, private_key.sign(text.encode()))


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: what a log says it holds. ``origin`` names the log."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Raises NoteInvalidError for a text that is not a checkpoint."""
        lines = text.split("\n")
        if len(lines) < 4 or not lines[0] or lines[-1] or not all(lines[:-1]):
            raise NoteInvalidError("a checkpoint is an origin, a size and a root hash, one a line")
        if _SIZE.fullmatch(lines[1]) is None or int(lines[1]) > INDEX_MAX:
            raise NoteInvalidError("the checkpoint's size is malformed")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except binascii.Error as error:
            raise NoteInvalidError("the checkpoint's root hash is not base64") from error
        if len(root) != HASH_BYTES:
            raise NoteInvalidError(f"the checkpoint's root hash is not {HASH_BYTES} bytes")
        return cls(lines[0], int(lines[1]), root)


@dataclass(frozen=True, slots=True)
class OpenedCheckpoint:
    """A checkpoint whose signature holds. ``timestamps`` are POSIX seconds by the name of who cosigned."""

    checkpoint: Checkpoint
    timestamps: Mapping[str, int]


def open_checkpoint(note: str, origin: str, log_keys: Sequence[VerifierKey]) -> OpenedCheckpoint:
    """Parse and check a checkpoint of the log ``origin``, signed by one of ``log_keys`` (plain or as a cosignature).

    Raises:
        NoteInvalidError: malformed, of another log, or not signed by the log.
    """
    signed = SignedNote.parse(note)
    keys = [key.as_type(kind) for key in log_keys for kind in (TYPE_ED25519, TYPE_COSIGNATURE)]
    found = signed.verified_by(keys)
    if not any(key.signature_type == TYPE_ED25519 for key in found):
        raise NoteInvalidError("the log has not signed the checkpoint")
    checkpoint = Checkpoint.parse(signed.text)
    if checkpoint.origin != origin:
        raise NoteInvalidError(f"a checkpoint of another log: {checkpoint.origin}")
    return OpenedCheckpoint(checkpoint, {key.name: moment for key, moment in found.items() if moment is not None})
