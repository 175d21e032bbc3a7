"""The signer of checkpoints: holds the log's private key, and never signs two histories.

It remembers the last checkpoint it signed in a file of its own and signs a later one only with a proof that the later
tree begins with the earlier. A database rolled back, truncated or rewritten behind its back gets no signature.

Beside the key file lie ``<file>.last`` (the last note signed), ``<file>.handovers`` (one JSON string a line: the notes
by which each key handed on to the next) and, for the moment of a rotation, ``<file>.next``.
"""

import fcntl
import json
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hookbus.audit.note import TYPE_COSIGNATURE, Checkpoint, NoteInvalidError, SignedNote, VerifierKey, sign_text
from hookbus.audit.prune_record import PruneRecord
from hookbus.audit.signing.files import (
    SECRET_MODE,
    KeyFileError,
    append_line,
    destroy,
    load_key_file,
    private_pem,
    read_private,
    write_private,
)
from hookbus.audit.tree import ProofInvalidError, verify_consistency
from hookbus.audit.trust import Handover, Trust

STATE_SUFFIX: Final = ".last"
HANDOVERS_SUFFIX: Final = ".handovers"
NEXT_SUFFIX: Final = ".next"
LOCK_SUFFIX: Final = ".lock"


class SigningRefusedError(Exception):
    """The tree does not continue what was signed before, or the key does not belong to this log."""


@dataclass(frozen=True, slots=True)
class SignRequest:
    """What to sign: the new tree head, and the proof that it continues the one of ``from_size``."""

    checkpoint: Checkpoint
    from_size: int
    proof: tuple[bytes, ...]


class Signer:
    """One log's private key and the last checkpoint it signed."""

    def __init__(self, origin: str, key_file: Path) -> None:
        """Raises KeyFileError or NoteInvalidError where the files do not fit each other or the log."""
        self._key_file = key_file
        self._handovers_file = key_file.with_name(key_file.name + HANDOVERS_SUFFIX)
        self._next_file = key_file.with_name(key_file.name + NEXT_SUFFIX)
        self._state_file = key_file.with_name(key_file.name + STATE_SUFFIX)
        self._lock_file = key_file.with_name(key_file.name + LOCK_SUFFIX)
        self.origin = origin
        self.refresh()

    def refresh(self) -> None:
        """Read what another signer on the same files has done since."""
        with self._locked():
            pass

    @contextmanager
    def _locked(self) -> Generator[None]:
        """The files to ourselves, and as they are now: another audit service may have a signer on them as well."""
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT, SECRET_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._load()
            yield
        finally:
            os.close(descriptor)

    def _load(self) -> None:
        self.handovers: tuple[str, ...] = self._read_handovers()
        self._finish_rotation()
        self._key = load_key_file(self._key_file)
        self.verifier_key = _public(self.origin, self._key)
        first = Handover.open(self.handovers[0]).old if self.handovers else self.verifier_key
        self.trust = Trust(self.origin, first, self.handovers)
        if self.trust.current != self.verifier_key:
            raise NoteInvalidError("the key file does not hold the key that was handed over to last")
        self._last = self._read_state()

    @property
    def last(self) -> Checkpoint | None:
        """The newest checkpoint signed; None before the first."""
        return self._last

    def sign(self, request: SignRequest, now_s: int) -> str:
        """The signed note: the log's signature and its timestamped cosignature.

        Raises:
            SigningRefusedError: the checkpoint does not provably continue :attr:`last`.
        """
        checkpoint = request.checkpoint
        if checkpoint.origin != self.origin:
            raise SigningRefusedError(f"this key signs for {self.origin}")
        with self._locked():
            return self._sign(request, now_s)

    def _sign(self, request: SignRequest, now_s: int) -> str:
        checkpoint = request.checkpoint
        if self._last is not None:
            self._require_continuation(self._last, request)
        plain = sign_text(checkpoint.text, self.verifier_key, self._key)
        timed = sign_text(checkpoint.text, self.verifier_key.as_type(TYPE_COSIGNATURE), self._key, now_s)
        note = str(SignedNote(checkpoint.text, (plain, timed)))
        # Remembered before it leaves: a signature nobody remembers could be contradicted later.
        write_private(self._state_file, note.encode())
        self._last = checkpoint
        return note

    def prune(self, cut: int, root: bytes, ids: bytes, proof: Sequence[bytes]) -> str:
        """The signed record that entries below ``cut`` may go; ``root`` is theirs, ``ids`` the digest of their ids.

        Raises:
            SigningRefusedError: they are not provably the beginning of :attr:`last`.
        """
        with self._locked():
            last = self._last
            if last is None or not 0 < cut <= last.size:
                raise SigningRefusedError("only what a signed checkpoint covers can be pruned")
            try:
                verify_consistency(from_size=cut, to_size=last.size, from_root=root, to_root=last.root, proof=proof)
            except ProofInvalidError as error:
                raise SigningRefusedError("the entries to be pruned are not those that were signed") from error
            return PruneRecord(self.origin, last.size, cut, root, ids).signed(self.verifier_key, self._key)

    def rotate(self) -> str:
        """Hand over to a new key at the last checkpoint, and destroy the old one; the note of the handover.

        Raises:
            SigningRefusedError: nothing was signed yet, so there is nothing to hand over.
        """
        with self._locked():
            return self._rotate()

    def _rotate(self) -> str:
        last = self._last
        if last is None:
            raise SigningRefusedError("no checkpoint is signed yet")
        new = Ed25519PrivateKey.generate()
        new_public = _public(self.origin, new)
        note = Handover(last, self.verifier_key, new_public).signed(self._key, new)
        # In this order a crash leaves either the old key and no handover, or the handover and the new key at hand.
        write_private(self._next_file, private_pem(new))
        append_line(self._handovers_file, json.dumps(note).encode())
        self.handovers = (*self.handovers, note)
        self._finish_rotation()
        self._key, self.verifier_key = new, new_public
        self.trust = Trust(self.origin, self.trust.epochs[0].key, self.handovers)
        return note

    def _finish_rotation(self) -> None:
        """Put the new key in the old one's place, where a handover to it was written; else drop it."""
        if not self._next_file.exists():
            return
        last = Handover.open(self.handovers[-1]).new if self.handovers else None
        try:
            new = _public(self.origin, load_key_file(self._next_file))
        except KeyFileError:
            current = _public(self.origin, load_key_file(self._key_file))
            if last is not None and current != last:
                raise
            # Nobody handed over to it, and nobody can: the key in use is the last one's heir already.
            destroy(self._next_file)
            return
        if new != last:
            destroy(self._next_file)
            return
        body = read_private(self._next_file)
        if self._key_file.exists():
            destroy(self._key_file)
        write_private(self._key_file, body)
        destroy(self._next_file)

    def _read_handovers(self) -> tuple[str, ...]:
        """A last line cut short is left out: nobody was told of that handover, and its old key is still there."""
        if not self._handovers_file.exists():
            return ()
        return tuple(json.loads(line) for line in read_private(self._handovers_file).split(b"\n")[:-1])

    def _require_continuation(self, last: Checkpoint, request: SignRequest) -> None:
        checkpoint = request.checkpoint
        if checkpoint.size < last.size:
            raise SigningRefusedError(f"the log shrank: {last.size} entries were signed, now it has {checkpoint.size}")
        if request.from_size != last.size:
            raise SigningRefusedError(f"the proof must begin at size {last.size}")
        if last.size == 0:
            return
        try:
            verify_consistency(
                from_size=last.size,
                to_size=checkpoint.size,
                from_root=last.root,
                to_root=checkpoint.root,
                proof=request.proof,
            )
        except ProofInvalidError as error:
            raise SigningRefusedError(f"the log does not continue what was signed at size {last.size}") from error

    def _read_state(self) -> Checkpoint | None:
        if not self._state_file.exists():
            return None
        note = read_private(self._state_file).decode()
        return self.trust.open(note).checkpoint


def _public(origin: str, key: Ed25519PrivateKey) -> VerifierKey:
    return VerifierKey(origin, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
