"""A rotation of the signing key that a crash or a full disk interrupts: the log opens again, under one key."""

import json
from pathlib import Path

import pytest
from support.full_disk import NO_ROOM, room

from hookbus.audit.note import Checkpoint
from hookbus.audit.signing.files import KeyFileError, create_key_file, write_private
from hookbus.audit.signing.signer import Signer, SignRequest
from hookbus.audit.tree import Frontier

ORIGIN = "log.example/one"
REQUEST = SignRequest(Checkpoint(ORIGIN, 0, Frontier().root), 0, ())


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    create_key_file(path)
    Signer(ORIGIN, path).sign(REQUEST, now_s=1)
    return path


def beside(key_file: Path, suffix: str) -> Path:
    return key_file.with_name(key_file.name + suffix)


@pytest.mark.parametrize("rotations", [0, 2])
@pytest.mark.parametrize("left", [bytes(119), b"", b"-----BEGIN"], ids=["zeros", "nothing", "half"])
def test_what_is_left_of_a_next_key_is_dropped_where_the_key_in_use_is_the_one_handed_over_to(
    key_file: Path, rotations: int, left: bytes
):
    signer = Signer(ORIGIN, key_file)
    for _ in range(rotations):
        signer.rotate()
    write_private(beside(key_file, ".next"), left)
    again = Signer(ORIGIN, key_file)
    assert again.verifier_key == signer.verifier_key
    assert not beside(key_file, ".next").exists()
    again.rotate()
    assert len(Signer(ORIGIN, key_file).handovers) == rotations + 1


def test_a_next_key_that_was_handed_over_to_and_cannot_be_read_is_kept_and_refused(key_file: Path):
    old = key_file.read_bytes()
    Signer(ORIGIN, key_file).rotate()
    new = key_file.read_bytes()
    # As a crash right behind the handover leaves it, and then the new key is damaged.
    write_private(key_file, old)
    write_private(beside(key_file, ".next"), bytes(119))
    with pytest.raises(KeyFileError, match="PEM"):
        Signer(ORIGIN, key_file)
    assert beside(key_file, ".next").exists()
    write_private(beside(key_file, ".next"), new)
    Signer(ORIGIN, key_file)
    assert key_file.read_bytes() == new


@pytest.mark.parametrize("rotations", [0, 1])
def test_a_handover_cut_short_is_none_and_the_next_one_is_whole(key_file: Path, rotations: int):
    signer = Signer(ORIGIN, key_file)
    for _ in range(rotations):
        signer.rotate()
    with beside(key_file, ".handovers").open("ab") as file:
        file.write(b'"hookbus.audit/handover/v1\\nlog.exam')
    beside(key_file, ".handovers").chmod(0o600)
    again = Signer(ORIGIN, key_file)
    assert (again.handovers, again.verifier_key) == (signer.handovers, signer.verifier_key)
    note = again.rotate()
    lines = beside(key_file, ".handovers").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [*signer.handovers, note]
    assert Signer(ORIGIN, key_file).verifier_key == again.verifier_key


def test_a_handover_that_the_disk_has_no_room_for_leaves_the_old_key_in_use(key_file: Path):
    """The new key fits, the note of the handover does not."""
    before = key_file.read_bytes()
    signer = Signer(ORIGIN, key_file)
    with room(len(before) + 20), pytest.raises(OSError, match=NO_ROOM):
        signer.rotate()
    assert key_file.read_bytes() == before
    again = Signer(ORIGIN, key_file)
    assert (again.handovers, again.verifier_key) == ((), signer.verifier_key)
    assert not beside(key_file, ".next").exists()
    again.sign(REQUEST, now_s=2)
    signer.sign(REQUEST, now_s=3)
