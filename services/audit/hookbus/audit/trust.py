"""Which keys speak for a log, and up to where: one key an epoch, each handed on by a note that both keys signed.

A verifier pins the first key. From there every handover is checked, so a stolen old key cannot speak for later sizes,
and a new key that the old one did not name cannot speak at all.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hookbus.audit.note import (
    Checkpoint,
    NoteInvalidError,
    OpenedCheckpoint,
    PrivateKey,
    SignedNote,
    VerifierKey,
    open_checkpoint,
    sign_text,
)
from hookbus.audit.tree import HASH_BYTES, INDEX_MAX

HANDOVER_HEADER: Final = "hookbus.audit/handover/v1"
HANDOVER_LINES: Final = 6


@dataclass(frozen=True, slots=True)
class Handover:
    """From ``checkpoint.size`` on the log is signed by ``new``; up to there, by ``old``."""

    checkpoint: Checkpoint
    old: VerifierKey
    new: VerifierKey

    @property
    def text(self) -> str:
        """What both keys sign."""
        root = base64.b64encode(self.checkpoint.root).decode()
        return (
            f"{HANDOVER_HEADER}\n{self.checkpoint.origin}\n{self.checkpoint.size}\n{root}\n"
            f"{self.old.text}\n{self.new.text}\n"
        )

    def signed(self, old: PrivateKey, new: PrivateKey) -> str:
        """The note, signed by both."""
        return str(SignedNote(self.text, (sign_text(self.text, self.old, old), sign_text(self.text, self.new, new))))

    @classmethod
    def open(cls, note: str) -> "Handover":
        """Parse a handover and check that both its keys signed it; whether the old key is trusted is not asked here.

        Raises:
            NoteInvalidError: malformed, or a signature is absent or does not hold.
        """
        signed = SignedNote.parse(note)
        lines = signed.text.split("\n")
        if len(lines) != HANDOVER_LINES + 1 or lines[0] != HANDOVER_HEADER:
            raise NoteInvalidError("not a key handover")
        checkpoint = Checkpoint.parse("\n".join([*lines[1:4], ""]))
        handover = cls(checkpoint, VerifierKey.parse(lines[4]), VerifierKey.parse(lines[5]))
        if handover.text != signed.text or len(checkpoint.root) != HASH_BYTES:
            raise NoteInvalidError("the key handover is not in its one form")
        if set(signed.verified_by([handover.old, handover.new])) != {handover.old, handover.new}:
            raise NoteInvalidError("a key handover needs the signatures of both keys")
        return handover


@dataclass(frozen=True, slots=True)
class Epoch:
    """The sizes a key may sign, both ends included."""

    key: VerifierKey
    from_size: int
    to_size: int


class Trust:
    """A log's name and its keys by epoch."""

    def __init__(self, origin: str, first: VerifierKey, handovers: Sequence[str] = ()) -> None:
        """``first`` is the key the caller pinned; ``handovers`` are notes, oldest first.

        Raises:
            NoteInvalidError: a handover does not follow from the key before it.
        """
        self.origin = origin
        self.handed_over: list[Checkpoint] = []
        epochs: list[Epoch] = []
        key, start = first, 0
        for note in handovers:
            handover = Handover.open(note)
            if handover.checkpoint.origin != origin or handover.old != key:
                raise NoteInvalidError("a key handover does not follow from the key before it")
            if handover.checkpoint.size < start:
                raise NoteInvalidError("a key handover lies before the one ahead of it")
            epochs.append(Epoch(key, start, handover.checkpoint.size))
            self.handed_over.append(handover.checkpoint)
            key, start = handover.new, handover.checkpoint.size
        epochs.append(Epoch(key, start, INDEX_MAX))
        self.epochs: tuple[Epoch, ...] = tuple(epochs)

    @property
    def current(self) -> VerifierKey:
        """The key of the newest epoch."""
        return self.epochs[-1].key

    def open(self, note: str) -> OpenedCheckpoint:
        """A checkpoint signed by the key of its epoch.

        Raises:
            NoteInvalidError: malformed, of another log, unsigned, or signed by a key out of its epoch.
        """
        size = Checkpoint.parse(SignedNote.parse(note).text).size
        keys = [epoch.key for epoch in self.epochs if epoch.from_size <= size <= epoch.to_size]
        return open_checkpoint(note, self.origin, keys)
