"""A log that signed two histories: the check writes a proof that convinces whoever holds the public key alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.paper_log import PaperLog, write_bundle

from hookbus.audit.bundle import Against, Bundle, Checked, check_bundle
from hookbus.audit.forks import FORMAT, ForkUnprovenError, check_fork
from hookbus.audit.note import Checkpoint, SignedNote, sign_text
from hookbus.audit.signing.files import load_key_file
from hookbus.audit.tiles import consistency_ranges, range_root

ENTRIES = (1, 300, 40, 250)


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    paper = PaperLog(tmp_path)
    for count in ENTRIES:
        paper.append(count)
    return paper


@dataclass
class Forged:
    """A note that the log's own key signed, outside its signer."""

    note: str
    size: int


def signed_elsewhere(log: PaperLog, size: int, root: bytes) -> Forged:
    private = load_key_file(log.folder / f"{log.log_id.hex()}.pem")
    text = Checkpoint(log.origin, size, root).text
    return Forged(str(SignedNote(text, (sign_text(text, log.signer.verifier_key, private),))), size)


def checked(tmp_path: Path, log: PaperLog, remembered: list[str], parts: dict[str, bytes] | None = None) -> Checked:
    bundle = Bundle(write_bundle(tmp_path / "export.zip", parts or log.parts()))
    try:
        return check_bundle(bundle, Against(log.pinned, remembered))
    finally:
        bundle.close()


@pytest.mark.parametrize("size", [3, 255, 256, 300, 343, 593])
def test_a_second_history_at_any_size_is_found_and_proven(log: PaperLog, tmp_path: Path, size: int):
    """Sizes the log published itself (3, 343, 593) and sizes it did not: both contradict its tree."""
    forged = signed_elsewhere(log, size, bytes(32))
    found = checked(tmp_path, log, [forged.note])
    assert found.fault is not None
    assert found.fork is not None
    fork = check_fork(found.fork, log.pinned)
    assert fork.earlier.size == size
    assert fork.later.size >= size
    notes = json.loads(found.fork)["notes"]
    assert forged.note in notes
    assert any(note in log.notes for note in notes)


def test_a_log_of_one_history_gives_no_proof(log: PaperLog, tmp_path: Path):
    """The control: the same log with notes of its own, and one whose entries were changed but not its signatures."""
    found = checked(tmp_path, log, log.notes[:2])
    assert (found.fault, found.fork) == (None, None)
    parts = log.parts()
    parts["tile/entries/001"] = b"\x00" * len(parts["tile/entries/001"])
    found = checked(tmp_path, log, log.notes, parts)
    assert found.fault is not None
    assert found.fork is None


def test_rewritten_entries_alone_are_no_fork(log: PaperLog, tmp_path: Path):
    """Tiles rewritten from the middle on lead to no signed root any more: a fault, and nothing the log signed."""
    parts = log.parts()
    for name in ("tile/0/001", "tile/0/000"):
        parts[name] = parts[name][:-1] + bytes([parts[name][-1] ^ 1])
    found = checked(tmp_path, log, [], parts)
    assert found.fault is not None
    assert found.fork is None


def test_a_second_history_is_proven_across_a_handover(log: PaperLog, tmp_path: Path):
    forged = signed_elsewhere(log, 300, bytes(32))
    log.signer.rotate()
    log.append(20)
    found = checked(tmp_path, log, [forged.note])
    assert found.fork is not None
    assert check_fork(found.fork, log.pinned).later.size == log.size


def test_a_proof_that_was_touched_proves_nothing(log: PaperLog, tmp_path: Path):
    forged = signed_elsewhere(log, 300, bytes(32))
    text = checked(tmp_path, log, [forged.note]).fork
    assert text is not None
    whole = json.loads(text)
    check_fork(text, log.pinned)
    other = PaperLog(tmp_path)
    honest = log.notes[0]
    doctored: list[object] = [
        {**whole, "notes": [honest, whole["notes"][1]]},
        {**whole, "notes": [whole["notes"][1], whole["notes"][1]]},
        {**whole, "notes": [forged.note[:-10] + "AAAAAAAA==", whole["notes"][1]]},
        {**whole, "root": bytes(32).hex()},
        {**whole, "root": "ff" * 32},
        {**whole, "proof": whole["proof"][:-1]},
        {**whole, "proof": ["00" * 32, *whole["proof"][1:]]},
        {**whole, "format": "other"},
        {},
        [],
    ]
    for parts in doctored:
        with pytest.raises(ForkUnprovenError):
            check_fork(json.dumps(parts), log.pinned)
    for text_of_no_proof in ("", "{", "[" * 100_000, "null"):
        with pytest.raises(ForkUnprovenError):
            check_fork(text_of_no_proof, log.pinned)
    with pytest.raises(ForkUnprovenError):
        check_fork(text, other.pinned)


def test_two_honest_checkpoints_cannot_be_made_into_a_proof(log: PaperLog):
    """The right root for the earlier size with a right proof contradicts nothing."""
    earlier = next(note for note in log.notes if note.split("\n")[1] == "303")
    checkpoint = Checkpoint.parse(SignedNote.parse(earlier).text)
    proof = [range_root(log.tiles(), *each).hex() for each in consistency_ranges(303, log.size)]
    parts = {"format": FORMAT, "notes": [earlier, log.notes[-1]], "handovers": [], "proof": proof}
    with pytest.raises(ForkUnprovenError, match="do not contradict"):
        check_fork(json.dumps({**parts, "root": checkpoint.root.hex()}), log.pinned)
    with pytest.raises(ForkUnprovenError, match="does not start"):
        check_fork(json.dumps({**parts, "root": bytes(32).hex()}), log.pinned)
