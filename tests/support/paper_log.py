"""A log without a database: built by the service's own pure parts, for tests of what is checked offline."""

import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from hookbus.audit.batch import build
from hookbus.audit.entries import Incoming, StoredEntry, from_event, own_event
from hookbus.audit.export import CHECKPOINT, CHECKPOINTS, HANDOVERS, KEYS, VERIFIER_KEY, addresses_of
from hookbus.audit.exported_keys import write_keys
from hookbus.audit.keys import DataKey, create_data_key, subject_of
from hookbus.audit.note import Checkpoint, VerifierKey
from hookbus.audit.record import Stream
from hookbus.audit.signing.files import create_key_file
from hookbus.audit.signing.signer import Signer, SignRequest
from hookbus.audit.tiles import (
    TILE_WIDTH,
    LogTree,
    consistency_ranges,
    inclusion_ranges,
    partial_addresses,
    range_root,
)
from support.events import hook_event

TIME_US = 1_790_000_000_000_000


@dataclass
class PaperLog:
    """Entries, tiles and checkpoints of one log."""

    folder: Path
    log_id: bytes = field(default_factory=lambda: os.urandom(16))
    entries: list[StoredEntry] = field(default_factory=list[StoredEntry])
    full_tiles: dict[tuple[int, int], bytes] = field(default_factory=dict[tuple[int, int], bytes])
    notes: list[str] = field(default_factory=list[str])
    keys: dict[str, DataKey] = field(default_factory=dict[str, DataKey])
    tree: LogTree = field(default_factory=LogTree)

    def __post_init__(self) -> None:
        key_file = self.folder / f"{self.log_id.hex()}.pem"
        create_key_file(key_file)
        self.signer = Signer(self.origin, key_file)
        self.pinned: VerifierKey = self.signer.verifier_key

    @property
    def origin(self) -> str:
        return f"log.example/{self.log_id.hex()}"

    @property
    def size(self) -> int:
        return len(self.entries)

    def append(self, count: int, agent: str = "agent", text: str = "") -> None:
        """Entries about ``agent``, keys announced, and a signed checkpoint."""
        incoming: list[Incoming] = []
        for stream, name in ((Stream.LOG, ""), (Stream.HOOKS, agent)):
            subject = subject_of(stream, name)
            if subject not in self.keys:
                key = self.keys[subject] = create_data_key(subject, "2026-11", os.urandom)
                data = {"key_id": key.key_id.hex(), "commitment": key.commitment.hex()}
                incoming.append(own_event("key_created", f"key-{len(self.keys)}", "2026-11-01T00:00:00Z", data))
        for _ in range(count):
            event = hook_event(agent_id=agent, data={"text": text} if text else {})
            incoming.append(from_event(Stream.HOOKS, event, event.to_wire()))
        self.place(incoming)

    def place(self, incoming: list[Incoming]) -> None:
        """These entries, under keys there are, and a signed checkpoint."""
        batch = build(
            incoming,
            log_id=self.log_id,
            tree=self.tree,
            time_us=TIME_US + self.size,
            keys=self.keys,
            search_key=bytes(32),
            randomness=os.urandom,
        )
        self.entries += batch.entries
        self.tree = batch.tree
        self.full_tiles.update({(tile.level, tile.number): tile.hashes for tile in batch.tiles})
        self.sign()

    def sign(self) -> None:
        last = self.signer.last
        from_size = last.size if last is not None else 0
        ranges = consistency_ranges(from_size, self.size) if from_size else []
        proof = tuple(range_root(self.tiles(), *each) for each in ranges)
        checkpoint = Checkpoint(self.origin, self.size, self.tree.frontier.root)
        self.notes.append(self.signer.sign(SignRequest(checkpoint, from_size, proof), 1_790_000_000))

    def tiles(self) -> dict[tuple[int, int], bytes]:
        """Full tiles and the partial ones of now."""
        found = dict(self.full_tiles)
        for address in partial_addresses(self.size):
            level = address.level or 0
            found[(level, address.number)] = b"".join(self.tree.partial[level])
        return found

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        return tuple(range_root(self.tiles(), *each) for each in inclusion_ranges(index, self.size))

    def parts(self, passphrase: bytes | None = None) -> dict[str, bytes]:
        """The parts of its export, by name; with a passphrase the data keys go along."""
        parts = {
            CHECKPOINT: self.notes[-1].encode(),
            CHECKPOINTS: b"".join(json.dumps(note).encode() + b"\n" for note in self.notes),
            HANDOVERS: json.dumps(list(self.signer.handovers)).encode(),
            VERIFIER_KEY: self.pinned.text.encode(),
        }
        tiles = self.tiles()
        for address in addresses_of(self.size):
            if address.level is None:
                rows = self.entries[address.number * TILE_WIDTH : address.number * TILE_WIDTH + address.width]
                body = b"".join(len(row.record).to_bytes(2) + row.record for row in rows)
            else:
                body = tiles[(address.level, address.number)]
            parts[f"tile/{address.path}"] = body
        if passphrase is not None:
            parts[KEYS] = write_keys(list(self.keys.values()), passphrase, os.urandom)
        parts.update({f"detached/{row.index}": row.detached for row in self.entries if row.detached is not None})
        return parts


def write_bundle(path: Path, parts: dict[str, bytes]) -> Path:
    """An export with these parts."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in parts.items():
            archive.writestr(name, body)
    return path
