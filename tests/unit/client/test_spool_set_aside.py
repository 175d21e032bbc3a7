"""What no longer waits is set aside as durably as it waited: each line whole and its own, whoever is killed when."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hookbus.client import sealing, spool, spool_files
from hookbus.client.compactjson import dumps
from hookbus.client.drain import drain, reject, rejected
from hookbus.client.gateway import Receipt
from hookbus.client.spool import Spool
from hookbus.client.spool_files import FileLock, SpoolError, SpoolFullError, decode_line, encode_line

ASIDE = f"0a1b2c3d{spool.ASIDE_SUFFIX}"


@pytest.fixture
def store(tmp_path: Path):
    return Spool(str(tmp_path / "spool"))


def put(store: Spool, *names: str):
    store.append([dumps({"id": name}) for name in names])


def take(sent: list[str]):
    """A gateway's events path that takes everything."""

    def send(batch: list[dict[str, Any]]) -> Receipt:
        receipt = Receipt()
        receipt.accepted.update({event["id"]: 1 for event in batch})
        sent.extend(receipt.accepted)
        return receipt

    return send


def fill_the_disk_in_the_middle_of_a_write(patch: pytest.MonkeyPatch) -> None:
    write, calls = os.write, iter([True])

    def short(descriptor: int, content: memoryview) -> int:
        if next(calls, False):
            return write(descriptor, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    patch.setattr(spool_files.os, "write", short)


def test_a_write_that_fails_half_way_leaves_nothing_and_its_repetition_is_whole(
    store: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = encode_line(b'{"id":"e1"}')
    store.set_aside(ASIDE, encode_line(b'{"id":"e0"}'))
    with monkeypatch.context() as patch:
        fill_the_disk_in_the_middle_of_a_write(patch)
        with pytest.raises(SpoolFullError, match="disk"):
            store.set_aside(ASIDE, line)
    store.set_aside(ASIDE, line)
    assert store.read_from(ASIDE, 0) == encode_line(b'{"id":"e0"}') + line


def test_what_a_kill_left_half_written_is_a_line_of_its_own(store: Spool) -> None:
    line = encode_line(b'{"id":"e1"}')
    put(store, "a")
    Path(store.path(ASIDE)).write_bytes(line[:-5])
    store.set_aside(ASIDE, line)
    assert [decode_line(one) for one in store.read_from(ASIDE, 0).split(b"\n")] == [None, b'{"id":"e1"}', None]


def test_refused_events_do_not_merge_with_what_a_kill_left(store: Spool) -> None:
    reject(store, {"id": "a"}, "body_invalid", "no")
    whole = store.read_from(spool.REJECTED_FILE, 0)
    with Path(store.path(spool.REJECTED_FILE)).open("ab") as file:
        file.write(whole[:20])
    reject(store, {"id": "b"}, "body_invalid", "no")
    first, torn, second = rejected(store)
    assert [json.loads(one)["event"]["id"] for one in (first, second)] == ["a", "b"]
    assert torn == whole[:20]


def test_an_event_under_another_key_survives_a_disk_that_was_full_while_it_was_set_aside(
    store: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [str(tmp_path / name) for name in ("first.key", "second.key")]
    for key in keys:
        sealing.new_key_file(key)
    first, second = (Spool(store.folder, key_file=key) for key in keys)
    put(first, "e1")
    with monkeypatch.context() as patch:
        fill_the_disk_in_the_middle_of_a_write(patch)
        assert isinstance(drain(second, take([])).error, SpoolFullError)
    assert drain(second, take([])).sealed_otherwise == {first.sealer().key_id: 1}
    assert first.restore()
    sent: list[str] = []
    assert drain(first, take(sent)).quarantined == 0
    assert sent == ["e1"]


@pytest.mark.parametrize("name", [ASIDE, spool.REJECTED_FILE, spool.QUARANTINE_FILE])
def test_a_new_file_has_a_name_that_lasts_before_it_holds_anything(
    store: Spool, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    synced: list[str] = []
    sizes: list[int] = []

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sizes.append(Path(store.path(name)).stat().st_size)

    monkeypatch.setattr(spool_files.os, "fsync", note)
    store.set_aside(name, b"line\n")
    store.set_aside(name, b"line\n")
    assert synced == [store.folder, store.path(name), store.path(name)]
    assert sizes == [0, 5, 10]


def test_nothing_is_set_aside_while_another_process_writes(store: Spool) -> None:
    put(store, "a")
    with FileLock(store.path(spool.APPEND_LOCK), 0.0) as locked:
        assert locked
        with pytest.raises(SpoolError, match=spool.APPEND_LOCK):
            store.within(0.0).set_aside(ASIDE, b"line\n")
    assert not Path(store.path(ASIDE)).exists()


def test_the_bound_holds_and_a_full_disk_is_told_as_one(store: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SET_ASIDE_BYTES_MAX", 10)
    store.set_aside(ASIDE, b"12345\n")
    with pytest.raises(SpoolFullError, match="move it away"):
        store.set_aside(ASIDE, b"12345\n")
    assert store.read_from(ASIDE, 0) == b"12345\n"
