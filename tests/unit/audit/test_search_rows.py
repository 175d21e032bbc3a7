"""Search rows against decrypted entries: whatever the log writes fits, and whatever is changed of it is named."""

import os
from dataclasses import replace

import pytest
from support.events import hook_event

from hookbus.audit.batch import Batch, build
from hookbus.audit.entries import Incoming, LookupRow, from_event, own_event
from hookbus.audit.keys import create_data_key, subject_of
from hookbus.audit.record import Stream
from hookbus.audit.search_rows import SearchRows
from hookbus.audit.tiles import LogTree
from hookbus.contracts.events import Event, Kind, type_of_security

SEARCH_KEY = bytes(range(32))


def security(code: str) -> Event:
    return hook_event(session="s").model_copy(update={"type": type_of_security(code)})


def incoming() -> list[Incoming]:
    """One of everything that has terms of a form of its own."""
    decided = hook_event(session="s", project="p").model_copy(update={"decision": "deny"})
    hooks = [
        *(hook_event(kind, session="s") for kind in Kind),
        *(hook_event(Kind.POST_TASK, data={"status": status}) for status in ("ok", "a\x00b", "x" * 200, 7, None)),
        hook_event(Kind.PROMPT, data={"status": "no outcome of a prompt"}),
        hook_event(agent_id="hookbus-audit"),
        decided,
    ]
    own = own_event("erased", "erased-1", "2026-11-01T00:00:00Z", {"key_ids": []})
    return [
        *(from_event(Stream.HOOKS, event, event.to_wire()) for event in hooks),
        *(from_event(Stream.SECURITY, event, event.to_wire()) for event in map(security, ("path", "audit_read"))),
        own,
    ]


ITEMS = incoming()


@pytest.fixture(scope="module")
def batch() -> Batch:
    subjects = {subject_of(item.stream, item.agent) for item in ITEMS}
    keys = {subject: create_data_key(subject, "2026-11", os.urandom) for subject in subjects}
    return build(
        ITEMS,
        log_id=bytes(16),
        tree=LogTree(),
        time_us=1,
        keys=keys,
        search_key=SEARCH_KEY,
        randomness=os.urandom,
    )


def fault_of(
    batch: Batch, rows: list[LookupRow], *, pruned_below: int = 0, erased: int | None = None
) -> tuple[int, str] | None:
    compared = SearchRows(rows, SEARCH_KEY, pruned_below)
    for entry, item in zip(batch.entries, ITEMS, strict=True):
        compared.compare(entry, None if entry.index == erased else item.body)
    compared.finish()
    return compared.fault


def test_whatever_the_log_writes_fits(batch: Batch):
    assert fault_of(batch, list(batch.lookups)) is None


@pytest.mark.parametrize("index", range(len(ITEMS)))
def test_whatever_is_changed_is_named(batch: Batch, index: int):
    row = batch.lookups[index]
    changes = {
        "kind": replace(row, kind="other"),
        "outcome": replace(row, outcome="other"),
        "agent": replace(row, agent=None),
        "session": replace(row, session=bytes(16)),
        "project": replace(row, project=bytes(16)),
        "missing": replace(row, event_id="other"),
        "added": replace(row, stream=9),
    }
    for words, changed in changes.items():
        fault = fault_of(batch, [*batch.lookups[:index], changed, *batch.lookups[index + 1 :]])
        assert fault is not None, words
        assert (fault[0], words in fault[1]) == (index, True), fault


def test_rows_too_many_or_too_few_are_named(batch: Batch):
    rows = list(batch.lookups)
    assert (fault_of(batch, rows[:3] + rows[4:]) or (None,))[0] == 3
    assert (fault_of(batch, [*rows, replace(rows[0], index=len(rows))]) or (None,))[0] == len(rows)
    assert (fault_of(batch, [rows[0], *rows]) or (None,))[0] == 0


def test_the_first_of_several_is_named(batch: Batch):
    rows = [replace(row, kind="other") if row.index in (2, 5) else row for row in batch.lookups]
    assert (fault_of(batch, rows) or (None,))[0] == 2


def test_terms_may_be_gone_of_what_is_pruned_or_erased_and_of_nothing_else(batch: Batch):
    rows = [replace(row, agent=None, session=None, project=None) if row.index == 4 else row for row in batch.lookups]
    assert (fault_of(batch, rows) or (None,))[0] == 4
    assert (fault_of(batch, rows, pruned_below=4) or (None,))[0] == 4
    assert fault_of(batch, rows, pruned_below=5) is None
    assert fault_of(batch, rows, erased=4) is None
    # Gone as a whole, not changed.
    half = [replace(row, agent=None) if row.index == 4 else row for row in batch.lookups]
    assert (fault_of(batch, half, pruned_below=5) or (None,))[0] == 4
