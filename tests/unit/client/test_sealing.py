"""Events that wait under a key: readable with that key alone, never written plain, never lost for another one."""

import os
from pathlib import Path
from typing import Any

import pytest

from hookbus.client import sealing
from hookbus.client.compactjson import dumps
from hookbus.client.drain import DrainReport, drain, reject, rejected, status
from hookbus.client.gateway import Receipt
from hookbus.client.spool import Spool
from hookbus.client.spool_files import SEALED, SpoolError, decode_line, encode_line

SECRET = b"the launch code is 8127"


@pytest.fixture
def key(tmp_path: Path) -> str:
    return made(tmp_path / "spool.key")


def made(path: Path) -> str:
    sealing.new_key_file(str(path))
    return str(path)


def event(name: str) -> bytes:
    return dumps({"id": name, "kind": "prompt", "data": {"prompt": SECRET.decode()}})


def sent(store: Spool) -> tuple[list[str], DrainReport]:
    got: list[dict[str, Any]] = []

    def send(batch: list[dict[str, Any]]) -> Receipt:
        got.extend(batch)
        receipt = Receipt()
        receipt.accepted.update({one["id"]: 1 for one in batch})
        return receipt

    report = drain(store, send)
    assert all(one["data"]["prompt"] == SECRET.decode() for one in got)
    return [one["id"] for one in got], report


def on_disk(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_sealed_event_comes_back_and_is_nowhere_on_disk_in_plain_text(tmp_path: Path, key: str) -> None:
    store = Spool(str(tmp_path / "spool"), key_file=key)
    store.append([event("a"), event("b")])
    reject(store, {"id": "r", "data": {"prompt": SECRET.decode()}}, "body_invalid", "refused")
    held = on_disk(tmp_path)
    for plain in (SECRET, b"launch", b"prompt", b'"id"', b"body_invalid"):
        assert plain not in held
    assert status(store)["waiting_events"] == 2
    (entry,) = rejected(store)
    assert SECRET in entry
    assert sent(Spool(str(tmp_path / "spool"), key_file=key))[0] == ["a", "b"]


def test_plain_and_sealed_events_in_one_spool_are_sent_in_their_order(tmp_path: Path, key: str) -> None:
    plain, sealed = Spool(str(tmp_path / "s")), Spool(str(tmp_path / "s"), key_file=key)
    for number, store in enumerate([plain, sealed, plain, sealed, sealed, plain]):
        store.append([event(f"{number}")])
    assert len(plain.segments()) == 1
    assert sent(sealed)[0] == [f"{number}" for number in range(6)]


def test_every_record_is_sealed_anew(tmp_path: Path, key: str) -> None:
    store = Spool(str(tmp_path / "s"), key_file=key)
    assert len({store.line_of(event("same")) for _ in range(100)}) == 100


def test_without_the_key_nothing_is_sent_out_of_order_and_nothing_is_lost(tmp_path: Path, key: str) -> None:
    """What lies before the first sealed event is sent; it and all behind it wait for the key, and the error says so."""
    plain, sealed = Spool(str(tmp_path / "s")), Spool(str(tmp_path / "s"), key_file=key)
    plain.append([event("a")])
    sealed.append([event("b")])
    plain.append([event("c")])
    names, report = sent(plain)
    assert names == ["a"]
    assert "HOOKBUS_SPOOL_KEY_FILE" in str(report.error)
    assert status(plain)["waiting_events"] == 2
    assert sent(sealed)[0] == ["b", "c"]


def test_what_another_key_sealed_is_set_aside_and_sent_once_that_key_is_back(tmp_path: Path, key: str) -> None:
    first = Spool(str(tmp_path / "s"), key_file=key)
    second = Spool(str(tmp_path / "s"), key_file=made(tmp_path / "other.key"))
    first.append([event("a"), event("b")])
    second.append([event("c")])
    names, report = sent(second)
    assert (names, report.sealed_otherwise) == (["c"], {first.sealer().key_id: 2})
    assert status(second)["sealed_otherwise"] == {first.sealer().key_id: 2}
    assert not second.restore()
    assert SECRET not in on_disk(tmp_path)
    assert first.restore()
    assert sent(first)[0] == ["a", "b"]
    assert status(first)["sealed_otherwise"] == {}


@pytest.mark.parametrize("position", [2, 9, 11, 20, 40, -3])
def test_a_changed_record_is_quarantined_and_its_neighbours_are_sent(tmp_path: Path, key: str, position: int) -> None:
    """Also where the checksum was made to fit: the tag covers the content and the key's id."""
    store = Spool(str(tmp_path / "s"), key_file=key)
    body = bytearray(decode_line(store.line_of(event("b"))[:-1], SEALED) or b"")
    body[position] = ord("0") if body[position] != ord("0") else ord("1")
    store.append([event("a")])
    with Path(store.path(store.segments()[0])).open("ab") as segment:
        segment.write(encode_line(bytes(body), SEALED))
    store.append([event("c")])
    names, report = sent(store)
    assert names == ["a", "c"]
    assert report.quarantined + sum(report.sealed_otherwise.values()) == 1


def test_a_sealed_record_cut_by_a_kill_is_set_aside_alone(tmp_path: Path, key: str) -> None:
    store = Spool(str(tmp_path / "s"), key_file=key)
    store.append([event("a")])
    with Path(store.path(store.segments()[0])).open("ab") as segment:
        segment.write(store.line_of(event("torn"))[:-9])
    store.append([event("c")])
    assert sent(store)[0] == ["a", "c"]


@pytest.mark.parametrize("content", [b"", b"short", b"g" * 64, b"ab" * 31, b"\x00" * 32])
def test_a_key_that_is_none_is_refused_in_words_that_do_not_repeat_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SpoolError, match="64 hex digits") as caught:
        Spool(str(tmp_path / "s"), key_file=str(path)).append([event("a")])
    assert len(content) < 10 or content.decode() not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_a_key_others_may_read_is_refused(tmp_path: Path, key: str, mode: int) -> None:
    Path(key).chmod(mode)
    with pytest.raises(SpoolError, match="chmod 600"):
        Spool(str(tmp_path / "s"), key_file=key).append([event("a")])


def test_with_an_unusable_key_an_event_is_refused_and_not_written_plain(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("absent", "fifo", "."):
        with pytest.raises(SpoolError):
            Spool(str(tmp_path / "s"), key_file=str(tmp_path / name)).append([event("a")])
    assert SECRET not in on_disk(tmp_path)
    assert not (tmp_path / "s").exists()


def test_a_key_file_is_never_written_over(tmp_path: Path, key: str) -> None:
    before = Path(key).read_bytes()
    assert Path(key).stat().st_mode & 0o777 == 0o600
    with pytest.raises(SpoolError, match="exists"):
        sealing.new_key_file(key)
    assert Path(key).read_bytes() == before
