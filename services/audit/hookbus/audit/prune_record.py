"""What the log says of its own pruning: a note signed by the log's key, whose hash is the id of an entry of the log.

Either alone would not do. A signature can be made in secret by whoever has the key; an entry that names no signature
can be made by whoever has the data keys. The entry's header holds the hash of its id in clear, so a verifier without
data keys finds the note's place too.
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from hookbus.audit.note import Checkpoint, NoteInvalidError, PrivateKey, SignedNote, VerifierKey, sign_text
from hookbus.audit.record import Stream, event_hash
from hookbus.audit.tree import HASH_BYTES
from hookbus.audit.trust import Trust

PRUNE_HEADER: Final = "hookbus.audit/prune/v1"
PRUNE_LINES: Final = 6
EVENT_ID_PREFIX: Final = "prune-"
"""The same prefix stands in ``audit.drop_pruned``."""


@dataclass(frozen=True, slots=True)
class PruneRecord:
    """Entries below ``cut`` may be gone; what they hashed to may not.

    ``size`` is that of the newest checkpoint at the signing, which says whose epoch it was. ``root`` is the root of
    the tree of ``cut`` entries. ``ids`` is :func:`ids_digest` over the ids that stay behind.
    """

    origin: str
    size: int
    cut: int
    root: bytes
    ids: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        root, ids = base64.b64encode(self.root).decode(), base64.b64encode(self.ids).decode()
        return f"{PRUNE_HEADER}\n{self.origin}\n{self.size}\n{self.cut}\n{root}\n{ids}\n"

    @property
    def checkpoint(self) -> Checkpoint:
        """What the pruned entries led to."""
        return Checkpoint(self.origin, self.cut, self.root)

    def signed(self, key: VerifierKey, private_key: PrivateKey) -> str:
        """The signed note."""
        return str(SignedNote(self.text, (sign_text(self.text, key, private_key),)))

    @classmethod
    def open(cls, note: str, trust: Trust) -> "PruneRecord":
        """A record signed by the key of its epoch.

        Raises:
            NoteInvalidError: malformed, of another log, unsigned, or signed by a key out of its epoch.
        """
        signed = SignedNote.parse(note)
        lines = signed.text.split("\n")
        if len(lines) != PRUNE_LINES + 1 or lines[0] != PRUNE_HEADER:
            raise NoteInvalidError("not a record of pruning")
        try:
            size, cut = int(lines[2]), int(lines[3])
            root, ids = (base64.b64decode(line, validate=True) for line in lines[4:6])
        except (ValueError, binascii.Error) as error:
            raise NoteInvalidError("the record of pruning is malformed") from error
        record = cls(lines[1], size, cut, root, ids)
        if record.text != signed.text or len(root) != HASH_BYTES or len(ids) != HASH_BYTES or not 0 < cut <= size:
            raise NoteInvalidError("the record of pruning is not in its one form")
        if record.origin != trust.origin:
            raise NoteInvalidError(f"a record of pruning of another log: {record.origin}")
        signed.verified_by([epoch.key for epoch in trust.epochs if epoch.from_size <= size <= epoch.to_size])
        return record


def cut_of(note: str) -> int:
    """How many entries a record says may be absent, unchecked; raises ValueError for what is no record."""
    lines = note.split("\n")
    if len(lines) < PRUNE_LINES or lines[0] != PRUNE_HEADER:
        raise ValueError("not a record of pruning")
    return int(lines[3])


def prune_event_id(note: str) -> str:
    """The id of the log's entry about a record of pruning."""
    return EVENT_ID_PREFIX + sha256(note.encode()).hexdigest()


class IdsDigest:
    """SHA-256 over the event hashes of the first entries, in order: their ids must stay what they were, or an event
    could be taken for a duplicate of one that never was."""

    def __init__(self) -> None:
        self._hash = sha256()
        self.count = 0

    def add(self, places: Iterable[tuple[int, str]]) -> None:
        """The next streams and event ids; a stream that is none raises ValueError."""
        for stream, event_id in places:
            self._hash.update(event_hash(Stream(stream), event_id))
            self.count += 1

    @property
    def value(self) -> bytes:
        """The digest so far."""
        return self._hash.digest()
