"""The witness answers as C2SP tlog-witness says, and never cosigns two histories."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.paper_log import PaperLog

from hookbus.audit.note import Checkpoint, SignatureLine, SignedNote, VerifierKey, sign_text
from hookbus.audit.signing.files import load_key_file
from hookbus.audit.tiles import consistency_ranges, range_root
from hookbus.audit.witness.app import application
from hookbus.audit.witness.domain import SIZE_MEDIA_TYPE, RefusedError, Submission
from hookbus.audit.witness.keeper import Keeper

NAME = "witness.example/one"


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    paper = PaperLog(tmp_path)
    for count in (1, 10, 300):
        paper.append(count)
    return paper


@pytest.fixture
def keeper(tmp_path: Path, log: PaperLog) -> Keeper:
    return Keeper(tmp_path / "witness", NAME, [log.pinned])


def size_of(note: str) -> int:
    return Checkpoint.parse(SignedNote.parse(note).text).size


def submission(log: PaperLog, number: int, old_size: int) -> Submission:
    note = log.notes[number]
    size = size_of(note)
    ranges = consistency_ranges(old_size, size) if 0 < old_size < size else []
    return Submission(old_size, tuple(range_root(log.tiles(), *each) for each in ranges), note)


def test_what_continues_is_cosigned(keeper: Keeper, log: PaperLog):
    client = TestClient(application(keeper))
    key = VerifierKey.parse(client.get("/").text)
    old = 0
    for number in range(3):
        answer = client.post("/add-checkpoint", content=submission(log, number, old).body)
        assert answer.status_code == 200
        line = SignatureLine.parse(answer.text.rstrip("\n"))
        assert key.verify(SignedNote.parse(log.notes[number]).text, line.signature) is not None
        old = size_of(log.notes[number])
    # The same once more is cosigned once more: an answer that was lost can be asked for again.
    assert client.post("/add-checkpoint", content=submission(log, 2, old).body).status_code == 200


def test_each_refusal_has_its_status(keeper: Keeper, log: PaperLog, tmp_path: Path):
    client = TestClient(application(keeper))
    stranger = PaperLog(tmp_path)
    stranger.append(3)
    private = load_key_file(stranger.folder / f"{stranger.log_id.hex()}.pem")

    def status(body: str | Submission) -> int:
        content = body if isinstance(body, str) else body.body
        return client.post("/add-checkpoint", content=content).status_code

    first, second = size_of(log.notes[0]), size_of(log.notes[1])
    assert status(submission(log, 0, 0)) == 200
    # Stale: the answer says the size that is held.
    answer = client.post("/add-checkpoint", content=submission(log, 1, 0).body)
    assert (answer.status_code, answer.text) == (409, f"{first}\n")
    assert answer.headers["content-type"].startswith(SIZE_MEDIA_TYPE)
    good = submission(log, 1, first)
    assert status(replace(good, proof=(bytes(32), *good.proof[1:]))) == 422
    assert status(replace(good, proof=())) == 422
    assert status(replace(good, old_size=second + 1)) == 400
    assert status(submission(stranger, 0, 0)) == 404
    text = SignedNote.parse(log.notes[1]).text
    forged = str(SignedNote(text, (sign_text(text, stranger.pinned, private),)))
    assert status(replace(good, note=forged)) == 403
    for body in ("", "old x\n\n", "old 01\n\n" + log.notes[1], f"old {first}\n!!\n\n" + log.notes[1], "old 3\n" * 70):
        assert status(body) == 400
    assert client.post("/add-checkpoint", content=b"\xff\xfe").status_code == 400
    assert client.post("/add-checkpoint", content=b"x" * 200_000).status_code == 413
    assert status(good) == 200


def test_a_fork_is_refused_and_its_proof_is_kept(keeper: Keeper, log: PaperLog, tmp_path: Path):
    keeper.add_checkpoint(submission(log, 0, 0).body, 1)
    size = size_of(log.notes[0])
    private = load_key_file(log.folder / f"{log.log_id.hex()}.pem")
    text = Checkpoint(log.origin, size, bytes(32)).text
    fork = str(SignedNote(text, (sign_text(text, log.pinned, private),)))
    with pytest.raises(RefusedError) as caught:
        keeper.add_checkpoint(Submission(size, (), fork).body, 2)
    assert caught.value.status == 409
    (kept,) = (tmp_path / "witness").glob("*.fork")
    assert kept.read_text() == f"{log.notes[0]}\n{fork}"
    assert keeper.last(log.origin) == Checkpoint.parse(SignedNote.parse(log.notes[0]).text)


def test_of_two_submissions_at_once_one_wins_and_the_size_never_goes_back(tmp_path: Path, log: PaperLog):
    keepers = [Keeper(tmp_path / "witness", NAME, [log.pinned]) for _ in range(4)]
    keepers[0].add_checkpoint(submission(log, 0, 0).body, 1)
    first = size_of(log.notes[0])

    def offer(number: int) -> int:
        try:
            keepers[number].add_checkpoint(submission(log, 1 + number % 2, first).body, 2)
        except RefusedError as error:
            return error.status
        return 200

    with ThreadPoolExecutor(4) as pool:
        answers = sorted(pool.map(offer, range(4)))
    assert answers == [200, 409, 409, 409]
    last = keepers[0].last(log.origin)
    assert last is not None
    assert last.size in {size_of(log.notes[1]), size_of(log.notes[2])}


def test_it_remembers_over_a_restart(tmp_path: Path, log: PaperLog):
    Keeper(tmp_path / "witness", NAME, [log.pinned]).add_checkpoint(submission(log, 1, 0).body, 1)
    again = Keeper(tmp_path / "witness", NAME, [log.pinned])
    with pytest.raises(RefusedError):
        again.add_checkpoint(submission(log, 2, 0).body, 2)
    again.add_checkpoint(submission(log, 2, size_of(log.notes[1])).body, 2)
