"""A log that moved for days has more checkpoints than fit a part that is read whole, or a memory: they are streamed."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paper_log import PaperLog, write_bundle

from hookbus.audit import zipped
from hookbus.audit.bundle import Against, Bundle, Checked, check_bundle
from hookbus.audit.export import CHECKPOINTS, Export, Published
from hookbus.audit.forks import check_fork
from hookbus.audit.note import Checkpoint, NoteInvalidError, SignedNote, sign_text
from hookbus.audit.signing.files import load_key_file
from hookbus.audit.tree import Frontier
from hookbus.audit.trust import Trust

ENTRIES = 800
LINES_OF_MEMORY_TEST = 4_000
PART_BYTES_MAX = 128 * 1024
"""Set in place of 64 MiB, which the lines of 43 hours fill."""
MEMORY_BYTES_MAX = 1024 * 1024
"""What is held of a checkpoint is over 1 KB: 4,000 held at once would not fit."""


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    """A log that signed after each of its entries."""
    paper = PaperLog(tmp_path)
    paper.append(ENTRIES)
    private = load_key_file(next(tmp_path.glob("*.pem")))
    tree = Frontier()
    notes: list[str] = []
    for entry in paper.entries:
        tree = tree.extended([entry.leaf_hash])
        text = Checkpoint(paper.origin, tree.size, tree.root).text
        notes.append(str(SignedNote(text, (sign_text(text, paper.pinned, private),))))
    paper.notes = notes
    return paper


def forged(log: PaperLog, size: int) -> str:
    """Signed with the log's own key, for a tree it never had."""
    private = load_key_file(next(log.folder.glob("*.pem")))
    text = Checkpoint(log.origin, size, bytes(32)).text
    return str(SignedNote(text, (sign_text(text, log.pinned, private),)))


def checked(tmp_path: Path, log: PaperLog, notes: list[str], remembered: tuple[str, ...] = ()) -> Checked:
    parts = log.parts() | {CHECKPOINTS: b"".join(json.dumps(note).encode() + b"\n" for note in notes)}
    bundle = Bundle(write_bundle(tmp_path / "export.zip", parts))
    try:
        return check_bundle(bundle, Against(log.pinned, remembered), leaves=False)
    finally:
        bundle.close()


def test_more_checkpoints_than_fit_a_part_that_is_read_whole(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(zipped, "PART_BYTES_MAX", PART_BYTES_MAX)
    assert len(log.parts()[CHECKPOINTS]) > PART_BYTES_MAX
    found = checked(tmp_path, log, log.notes)
    assert (found.fault, found.size, found.checkpoints) == (None, log.size, log.size + 1)


class OneNote:
    """An export of which nothing is asked but its checkpoints: the same one again and again."""

    def __init__(self, note: str, count: int) -> None:
        self._line, self._count = json.dumps(note).encode(), count

    def read(self, name: str) -> bytes:
        raise AssertionError(name)

    def lines(self, name: str) -> Iterator[bytes]:
        assert name == CHECKPOINTS
        for _ in range(self._count):
            yield self._line


def test_the_memory_of_a_check_does_not_grow_with_the_checkpoints(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Signatures are left out here: what they take is time."""

    def unsigned(self: Trust, note: str) -> Published:
        return Published(Checkpoint.parse(SignedNote.parse(note).text), note)

    monkeypatch.setattr(Trust, "open", unsigned)
    notes = sorted((log.notes * 5)[-LINES_OF_MEMORY_TEST:], key=lambda note: int(note.split("\n")[1]))
    parts = log.parts() | {CHECKPOINTS: b"".join(json.dumps(note).encode() + b"\n" for note in notes)}
    bundle = Bundle(write_bundle(tmp_path / "export.zip", parts))
    del parts, notes
    tracemalloc.start()
    try:
        found = check_bundle(bundle, Against(log.pinned), leaves=False)
        assert (found.fault, found.checkpoints) == (None, LINES_OF_MEMORY_TEST + 1)
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
        tracemalloc.reset_peak()
        trust = Trust(log.pinned.name, log.pinned)
        count = sum(1 for _ in Export(OneNote(log.notes[-1], LINES_OF_MEMORY_TEST)).checkpoints(trust))
        assert count == LINES_OF_MEMORY_TEST
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()
        bundle.close()


def test_checkpoints_out_of_order_are_refused(log: PaperLog, tmp_path: Path):
    """They are read once, beside the entries: one that comes too late could not be compared."""
    notes = log.notes[:]
    notes[10], notes[700] = notes[700], notes[10]
    fault = checked(tmp_path, log, notes).fault
    assert fault is not None
    assert "order" in fault.text


@pytest.mark.parametrize("at", [0, 300, ENTRIES])
def test_one_wrong_checkpoint_among_many_is_found_and_proven(log: PaperLog, tmp_path: Path, at: int):
    """In place of the right one, for which then another speaks, or beside it: two roots for one size."""
    size = int(log.notes[at].split("\n")[1])
    instead = [*log.notes[:at], forged(log, size), *log.notes[at + 1 :]]
    beside = [*log.notes[:at], forged(log, size), *log.notes[at:]]
    after = [*log.notes[: at + 1], *(forged(log, size) for _ in range(3)), *log.notes[at + 1 :]]
    for notes in (instead, beside, after):
        found = checked(tmp_path, log, notes)
        assert found.fault is not None
        assert "signed checkpoint" in found.fault.text
        assert found.fork is not None
        assert check_fork(found.fork, log.pinned).earlier.size == size


def test_an_unsigned_checkpoint_among_many_is_found(log: PaperLog, tmp_path: Path):
    text = SignedNote.parse(log.notes[600]).text
    stranger = PaperLog(tmp_path)
    stranger.append(1)
    key = load_key_file(next(path for path in tmp_path.glob("*.pem") if stranger.log_id.hex() in path.name))
    notes = [*log.notes]
    notes[600] = str(SignedNote(text, (sign_text(text, stranger.pinned, key),)))
    with pytest.raises(NoteInvalidError):
        Trust(log.pinned.name, log.pinned).open(notes[600])
    fault = checked(tmp_path, log, notes).fault
    assert fault is not None
    assert "forged" in fault.text


def test_a_checkpoint_of_more_entries_than_there_are_is_missed(log: PaperLog, tmp_path: Path):
    found = checked(tmp_path, log, [*log.notes, forged(log, log.size + 7), forged(log, log.size + 9)])
    assert found.fault is not None
    assert found.fault.index == log.size
    assert f"checkpoint of {log.size + 7} entries" in found.fault.text


def test_a_remembered_note_contradicts_one_of_many(log: PaperLog, tmp_path: Path):
    found = checked(tmp_path, log, log.notes, (forged(log, 456),))
    assert found.fork is not None
    assert check_fork(found.fork, log.pinned).earlier.size == 456
