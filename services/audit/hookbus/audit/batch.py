"""From events to a batch of sealed entries: places, times, nonces, ciphertexts, hashes. Pure: chance is passed in."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hookbus.audit.entries import Incoming, LookupRow, StoredEntry
from hookbus.audit.keys import DataKey, Randomness, blind, subject_of
from hookbus.audit.record import NONCE_BYTES, Header, event_hash, seal
from hookbus.audit.tiles import FullTile, LogTree
from hookbus.audit.tree import leaf_hash


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything one append writes, and the tree after it."""

    entries: tuple[StoredEntry, ...]
    lookups: tuple[LookupRow, ...]
    tiles: tuple[FullTile, ...]
    tree: LogTree
    time_us: int
    uses: Mapping[bytes, int]
    """Data key id -> entries under it in this batch."""


def build(
    incoming: Sequence[Incoming],
    *,
    log_id: bytes,
    tree: LogTree,
    time_us: int,
    keys: Mapping[str, DataKey],
    search_key: bytes,
    randomness: Randomness,
) -> Batch:
    """Seal ``incoming`` in order behind ``tree``.

    Args:
        incoming: events the log does not hold, each once.
        log_id: names the log.
        tree: the committed right edge.
        time_us: when the batch is appended, not before the entry ahead of it.
        keys: subject -> data key.
        search_key: blinds what may name a person.
        randomness: returns that many random bytes.
    """
    nonces = randomness(NONCE_BYTES * len(incoming))
    ciphers: dict[str, AESGCM] = {}
    tags: dict[tuple[str, str], bytes] = {}

    def tag(field: str, value: str | None) -> bytes | None:
        if value is None:
            return None
        found = tags.get((field, value))
        if found is None:
            found = tags[(field, value)] = blind(search_key, field, value)
        return found

    entries: list[StoredEntry] = []
    lookups: list[LookupRow] = []
    for number, item in enumerate(incoming):
        index = tree.frontier.size + number
        subject = subject_of(item.stream, item.agent)
        key = keys[subject]
        cipher = ciphers.get(subject)
        if cipher is None:
            cipher = ciphers[subject] = key.cipher
        header = Header(log_id, index, item.stream, event_hash(item.stream, item.event_id), time_us, key.key_id)
        sealed = seal(header, item.body, cipher, nonces[number * NONCE_BYTES : (number + 1) * NONCE_BYTES])
        entries.append(
            StoredEntry(
                index,
                item.stream,
                item.event_id,
                time_us,
                key.key_id,
                leaf_hash(sealed.record),
                sealed.record,
                sealed.detached,
            )
        )
        terms = item.terms
        lookups.append(
            LookupRow(
                index,
                item.stream,
                item.event_id,
                terms.kind,
                terms.outcome,
                tag("agent", terms.agent),
                tag("session", terms.session),
                tag("project", terms.project),
            )
        )
    grown, tiles = tree.appended([entry.leaf_hash for entry in entries])
    uses = Counter(entry.key_id for entry in entries)
    return Batch(tuple(entries), tuple(lookups), tuple(tiles), grown, time_us, uses)
