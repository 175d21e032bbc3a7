"""The signer signs one history: whatever the database says, it wants proof that the new tree continues the old."""

from pathlib import Path

import pytest

from hookbus.audit.note import Checkpoint, NoteInvalidError, open_checkpoint
from hookbus.audit.signing.files import KeyFileError, create_key_file, load_key_file
from hookbus.audit.signing.signer import Signer, SigningRefusedError, SignRequest
from hookbus.audit.tiles import LogTree, consistency_ranges, range_root
from hookbus.audit.tree import Frontier, leaf_hash

ORIGIN = "log.example/one"
LEAVES = [leaf_hash(b"entry %d" % number) for number in range(50)]
OTHER_LEAVES = [leaf_hash(b"forged %d" % number) for number in range(50)]


def request(size: int, from_size: int, leaves: list[bytes] = LEAVES) -> SignRequest:
    tree, _ = LogTree().appended(leaves[:size])
    tiles = {(0, 0): b"".join(leaves[:size])}
    proof = [range_root(tiles, *each) for each in consistency_ranges(from_size, size)] if from_size else []
    return SignRequest(Checkpoint(ORIGIN, size, tree.frontier.root), from_size, tuple(proof))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "signing.pem"
    create_key_file(path)
    return path


def test_a_log_that_grows_is_signed(key_file: Path):
    signer = Signer(ORIGIN, key_file)
    for size, before in ((0, 0), (3, 0), (3, 3), (40, 3)):
        note = signer.sign(request(size, before), now_s=99)
        opened = open_checkpoint(note, ORIGIN, [signer.verifier_key])
        assert (opened.checkpoint.size, opened.timestamps[ORIGIN]) == (size, 99)


def test_it_remembers_over_a_restart(key_file: Path):
    Signer(ORIGIN, key_file).sign(request(20, 0), now_s=1)
    signer = Signer(ORIGIN, key_file)
    assert signer.last == request(20, 0).checkpoint
    with pytest.raises(SigningRefusedError, match="shrank"):
        signer.sign(request(19, 0), now_s=2)
    signer.sign(request(21, 20), now_s=2)


@pytest.mark.parametrize(
    "bad",
    [
        request(19, 0),
        request(20, 0, OTHER_LEAVES),
        request(20, 20, OTHER_LEAVES),
        request(30, 20, OTHER_LEAVES),
        request(30, 20, LEAVES[:10] + OTHER_LEAVES[10:]),
        request(30, 0),
        request(30, 10),
        SignRequest(Checkpoint(ORIGIN, 30, Frontier().extended(LEAVES[:30]).root), 20, ()),
        SignRequest(Checkpoint("log.example/two", 30, bytes(32)), 20, ()),
    ],
    ids=[
        "shrunk",
        "forked",
        "forked with size",
        "forked later",
        "forked in between",
        "from 0",
        "from 10",
        "bare",
        "else",
    ],
)
def test_another_history_gets_no_signature(key_file: Path, bad: SignRequest):
    signer = Signer(ORIGIN, key_file)
    signer.sign(request(20, 0), now_s=1)
    with pytest.raises(SigningRefusedError):
        signer.sign(bad, now_s=2)
    assert signer.last == request(20, 0).checkpoint
    signer.sign(request(30, 20), now_s=3)


def test_a_key_with_the_memory_of_another_log_is_refused(key_file: Path):
    Signer(ORIGIN, key_file).sign(request(20, 0), now_s=1)
    with pytest.raises(NoteInvalidError):
        Signer("log.example/two", key_file)


def test_a_doctored_memory_is_refused(key_file: Path):
    Signer(ORIGIN, key_file).sign(request(20, 0), now_s=1)
    memory = key_file.with_name("signing.pem.last")
    memory.write_text(memory.read_text().replace("\n20\n", "\n19\n"))
    with pytest.raises(NoteInvalidError):
        Signer(ORIGIN, key_file)


def test_secret_files_are_for_their_owner_alone(key_file: Path, tmp_path: Path):
    assert key_file.stat().st_mode & 0o777 == 0o600
    key_file.chmod(0o640)
    with pytest.raises(KeyFileError, match="others may read"):
        load_key_file(key_file)
    key_file.chmod(0o600)
    key_file.write_bytes(b"no key")
    with pytest.raises(KeyFileError, match="PEM"):
        load_key_file(key_file)
    with pytest.raises(KeyFileError):
        load_key_file(tmp_path / "absent")
