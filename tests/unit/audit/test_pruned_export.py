"""An export of a pruned log: what the signed and logged record names may be absent, anything more is a loss."""

import json
from pathlib import Path

import pytest
from support.paper_log import PaperLog, write_bundle

from hookbus.audit.bundle import Against, Bundle, Checked, check_bundle
from hookbus.audit.entries import own_event
from hookbus.audit.export import PRUNE
from hookbus.audit.prune_record import PruneRecord, prune_event_id
from hookbus.audit.signing.files import load_key_file
from hookbus.audit.signing.signer import SigningRefusedError
from hookbus.audit.tiles import consistency_ranges, range_root

CUT = 512
IDS = bytes(32)


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    paper = PaperLog(tmp_path)
    for count in (300, 500):
        paper.append(count)
    return paper


def root_at(log: PaperLog, size: int) -> bytes:
    return range_root(log.tiles(), 0, size)


def proof_from(log: PaperLog, size: int) -> tuple[bytes, ...]:
    return tuple(range_root(log.tiles(), *each) for each in consistency_ranges(size, log.size))


def record(log: PaperLog, note: str) -> None:
    """Make a note an entry of the log."""
    log.place([own_event("pruned", prune_event_id(note), "2026-11-01T00:00:00Z", {"note": note})])


def prune(log: PaperLog, cut: int = CUT) -> str:
    note = log.signer.prune(cut, root_at(log, cut), IDS, proof_from(log, cut))
    record(log, note)
    return note


def pruned_parts(log: PaperLog, note: str, cut: int = CUT, **more: object) -> dict[str, bytes]:
    parts = log.parts()
    for number in range(cut // 256):
        del parts[f"tile/entries/{number:03d}"]
    parts[PRUNE] = json.dumps({"note": note, "index": log.size - 1, **more}).encode()
    return parts


def checked(tmp_path: Path, log: PaperLog, parts: dict[str, bytes], *, leaves: bool = True) -> Checked:
    bundle = Bundle(write_bundle(tmp_path / "export.zip", parts))
    try:
        return check_bundle(bundle, Against(log.pinned), leaves=leaves)
    finally:
        bundle.close()


@pytest.mark.parametrize("leaves", [True, False])
def test_a_pruned_log_leads_to_every_checkpoint_it_ever_published(tmp_path: Path, log: PaperLog, leaves: bool):
    note = prune(log)
    log.append(10)
    parts = pruned_parts(log, note, index=log.size - 11)
    found = checked(tmp_path, log, parts, leaves=leaves)
    assert (found.fault, found.size, found.checkpoints) == (None, log.size, len(log.notes) + 1)


def test_a_record_outlives_a_handover_of_the_signing_key(tmp_path: Path, log: PaperLog):
    note = prune(log)
    log.signer.rotate()
    log.append(5)
    assert checked(tmp_path, log, pruned_parts(log, note, index=log.size - 6)).fault is None


def test_what_is_not_on_record_is_missed(tmp_path: Path, log: PaperLog):
    note = prune(log)
    good = pruned_parts(log, note)
    assert checked(tmp_path, log, good).fault is None
    more = {name: body for name, body in good.items() if name != "tile/entries/002"}
    none = {name: body for name, body in good.items() if name != PRUNE}
    tile = {**good, "tile/0/001": good["tile/0/000"]}
    for parts, words in ((more, "entries/002"), (none, "entries/000"), (tile, "tile 1|tile 0|checkpoint|entr")):
        found = checked(tmp_path, log, parts)
        assert found.fault is not None
        assert any(word in str(found.fault) for word in words.split("|"))


def test_a_record_that_is_signed_but_not_in_the_log_does_not_count(tmp_path: Path, log: PaperLog):
    """As whoever has the signing key could make it, and show it to one reader alone."""
    secret = log.signer.prune(CUT, root_at(log, CUT), IDS, proof_from(log, CUT))
    log.append(1)
    for index in (log.size - 1, 3, log.size, -1):
        found = checked(tmp_path, log, pruned_parts(log, secret, index=index))
        assert "not in the log" in str(found.fault)


def test_a_record_in_the_log_that_its_key_did_not_sign_does_not_count(tmp_path: Path, log: PaperLog):
    """As whoever has the data keys and the sequencer could log it."""
    stranger = PaperLog(tmp_path)
    forged = PruneRecord(log.origin, log.size, CUT, root_at(log, CUT), IDS)
    key = load_key_file(next(path for path in tmp_path.glob("*.pem") if stranger.log_id.hex() in path.name))
    record(log, note := forged.signed(log.pinned, key))
    found = checked(tmp_path, log, pruned_parts(log, note))
    assert "forged" in str(found.fault)


def test_an_old_signing_key_cannot_prune_what_came_after_it(tmp_path: Path, log: PaperLog):
    path = next(tmp_path.glob("*.pem"))
    old = load_key_file(path)
    log.signer.rotate()
    log.append(600)
    note = PruneRecord(log.origin, log.size, 1024, root_at(log, 1024), IDS).signed(log.pinned, old)
    record(log, note)
    found = checked(tmp_path, log, pruned_parts(log, note, 1024))
    assert "forged" in str(found.fault)


def test_the_signer_signs_only_what_provably_begins_its_log(log: PaperLog):
    proof = proof_from(log, CUT)
    for bad in (
        (CUT, bytes(32), IDS, proof),
        (CUT, root_at(log, CUT), IDS, ()),
        (CUT + 1, root_at(log, CUT), IDS, proof),
        (log.size + 1, root_at(log, CUT), IDS, proof),
        (0, root_at(log, CUT), IDS, proof),
    ):
        with pytest.raises(SigningRefusedError):
            log.signer.prune(*bad)
    assert log.signer.prune(CUT, root_at(log, CUT), IDS, proof)
