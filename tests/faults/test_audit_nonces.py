"""A nonce is never used twice under a key: not over many entries, not when batches are thrown away."""

import os

import pytest
from support.faults import sized

from hookbus.audit.batch import build
from hookbus.audit.entries import Incoming, SearchTerms
from hookbus.audit.keys import create_data_key, subject_of
from hookbus.audit.record import HEADER_BYTES, NONCE_BYTES, Stream
from hookbus.audit.tiles import LogTree

ENTRIES = sized(100_000, 1_000_000)
BATCH = 4_000
ABORTED_EVERY = 5
"""Each fifth batch is built and dropped, as a transaction that fails leaves it; its entries are built again."""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


def test_no_nonce_repeats_over_many_entries_and_aborted_batches():
    key = create_data_key(subject_of(Stream.HOOKS, "a"), "2026-11", os.urandom)
    terms = SearchTerms("prompt", None, "a", None, None)
    seen: set[bytes] = set()
    tree = LogTree()
    built = number = 0
    while built < ENTRIES:
        incoming = [Incoming(Stream.HOOKS, f"e-{built + n}", "a", b"{}", terms) for n in range(BATCH)]
        batch = build(
            incoming,
            log_id=bytes(16),
            tree=tree,
            time_us=built,
            keys={key.subject: key},
            search_key=bytes(32),
            randomness=os.urandom,
        )
        seen.update(entry.record[HEADER_BYTES : HEADER_BYTES + NONCE_BYTES] for entry in batch.entries)
        number += 1
        if number % ABORTED_EVERY:
            tree = batch.tree
            built += BATCH
    assert tree.frontier.size == ENTRIES
    assert len(seen) == number * BATCH
    assert len(seen) > ENTRIES
