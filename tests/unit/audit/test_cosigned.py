"""Witnesses the checker names: each must have cosigned, and what bears its name must be its own."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.paper_log import PaperLog, write_bundle

from hookbus.audit.bundle import Against, Bundle, Checked, check_bundle
from hookbus.audit.note import TYPE_COSIGNATURE, SignedNote, VerifierKey, sign_text

TIME_S = 1_790_000_000


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    paper = PaperLog(tmp_path)
    for count in (10, 300, 5):
        paper.append(count)
    return paper


class Witness:
    def __init__(self, name: str) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.key = VerifierKey(name, self.private.public_key().public_bytes_raw(), TYPE_COSIGNATURE)

    def cosign(self, note: str) -> str:
        signed = SignedNote.parse(note)
        return str(signed.with_signatures([sign_text(signed.text, self.key, self.private, TIME_S)]))


def checked(tmp_path: Path, log: PaperLog, witnesses: list[VerifierKey]) -> Checked:
    bundle = Bundle(write_bundle(tmp_path / "export.zip", log.parts()))
    try:
        return check_bundle(bundle, Against(log.pinned, witnesses=witnesses), leaves=False)
    finally:
        bundle.close()


def test_the_newest_checkpoint_each_witness_cosigned_is_named(log: PaperLog, tmp_path: Path):
    one, two = Witness("one.example"), Witness("two.example")
    log.notes[0] = one.cosign(log.notes[0])
    log.notes[1] = two.cosign(one.cosign(log.notes[1]))
    found = checked(tmp_path, log, [one.key, two.key])
    assert found.fault is None
    size = int(log.notes[1].split("\n")[1])
    assert found.cosigned == {"one.example": size, "two.example": size}


def test_a_witness_that_cosigned_nothing_is_missed(log: PaperLog, tmp_path: Path):
    one, two = Witness("one.example"), Witness("two.example")
    log.notes[0] = one.cosign(log.notes[0])
    assert checked(tmp_path, log, [one.key]).fault is None
    found = checked(tmp_path, log, [one.key, two.key])
    assert found.fault is not None
    assert "two.example" in found.fault.text


def test_a_cosignature_of_another_text_is_found(log: PaperLog, tmp_path: Path):
    """Moved from one checkpoint to the next, under the witness's own name and key id."""
    one = Witness("one.example")
    line = SignedNote.parse(one.cosign(log.notes[0])).signatures[-1]
    log.notes[0] = one.cosign(log.notes[0])
    log.notes[1] = str(SignedNote.parse(log.notes[1]).with_signatures([replace(line)]))
    found = checked(tmp_path, log, [one.key])
    assert found.fault is not None
    assert "forged" in found.fault.text
