"""The spool keeps what it was given: torn, full, damaged, refused."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from hookbus.client import drain as drain_module
from hookbus.client import spool as spool_module
from hookbus.client import spool_files
from hookbus.client.compactjson import dumps
from hookbus.client.drain import drain, status
from hookbus.client.gateway import EventRefusedError, GatewayAwayError, Receipt
from hookbus.client.spool import Spool
from hookbus.client.spool_files import FileLock, SpoolError, SpoolFullError, decode_line, encode_line


class Sink:
    """Stands for the gateway's events path."""

    def __init__(self):
        self.batches: list[list[str]] = []
        self.refused: dict[str, int] = {}
        self.away_after: int | None = None

    def __call__(self, batch: Any):
        if self.away_after is not None and len(self.batches) >= self.away_after:
            raise GatewayAwayError("away")
        self.batches.append([event["id"] for event in batch])
        receipt = Receipt()
        for event in batch:
            if event["id"] in self.refused:
                receipt.refused[event["id"]] = ("body_invalid", "no")
            else:
                receipt.accepted[event["id"]] = 1
        return receipt

    @property
    def ids(self) -> list[str]:
        return [name for batch in self.batches for name in batch]


@pytest.fixture
def store(tmp_path: Path):
    return Spool(str(tmp_path / "data" / "spool"))


def put(store: Spool, *names: str, size: Any = 10):
    for name in names:
        store.append([dumps({"id": name, "data": {"x": "y" * size}})])


def test_files_are_the_owners_alone(store: Spool) -> None:
    put(store, "a")
    assert stat.S_IMODE(Path(store.folder).stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in Path(store.folder).iterdir()}
    assert modes == {0o600}


def test_a_folder_that_is_too_open_is_closed(store: Spool) -> None:
    Path(store.folder).mkdir(0o755, parents=True)
    put(store, "a")
    assert stat.S_IMODE(Path(store.folder).stat().st_mode) == 0o700


def test_replay_keeps_the_order_over_segments_and_leaves_nothing(store: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SEGMENT_BYTES_MAX", 2_000)
    names = [f"e{number}" for number in range(250)]
    put(store, *names)
    assert len(store.segments()) > 3
    sink = Sink()
    report = drain(store, sink)
    assert sink.ids == names
    assert max(map(len, sink.batches)) <= drain_module.BATCH_EVENTS_MAX
    assert (list(report.sent), report.error, store.segments()) == (names, None, [])
    assert status(store)["waiting_events"] == 0


def test_every_append_is_synced_to_the_disk(store: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(spool_files.os, "fsync", synced.append)
    put(store, "a", "b", "c")
    assert len(synced) >= 3


def test_a_torn_last_record_is_set_aside_and_its_neighbours_pass(store: Spool) -> None:
    put(store, "a")
    torn = encode_line(dumps({"id": "torn"}))[:-7]
    with Path(store.path(store.segments()[0])).open("ab") as segment:
        segment.write(torn)
    put(store, "b")
    sink = Sink()
    report = drain(store, sink)
    assert (sink.ids, report.quarantined) == (["a", "b"], 1)
    with Path(store.path(spool_module.QUARANTINE_FILE)).open("rb") as quarantine:
        assert quarantine.read() == torn + b"\n"


def test_a_torn_record_at_the_very_end_is_set_aside_too(store: Spool) -> None:
    put(store, "a")
    with Path(store.path(store.segments()[0])).open("ab") as segment:
        segment.write(b"1 00000000 {")
    sink = Sink()
    report = drain(store, sink)
    assert (sink.ids, report.quarantined, store.segments()) == (["a"], 1, [])


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_wherever_a_write_was_cut_it_is_neither_sent_nor_fatal(store: Spool, cut: int) -> None:
    put(store, "a")
    with Path(store.path(store.segments()[0])).open("ab") as segment:
        segment.write(encode_line(dumps({"id": "half", "data": "y" * 20}))[:cut])
    put(store, "b", "c")
    sink = Sink()
    drain(store, sink)
    assert sink.ids == ["a", "b", "c"]


def test_a_flipped_bit_is_found(store: Spool) -> None:
    put(store, "a", "b")
    path = store.path(store.segments()[0])
    with Path(path).open("r+b") as segment:
        content = bytearray(segment.read())
        content[30] ^= 1
        segment.seek(0)
        segment.write(content)
    sink = Sink()
    assert drain(store, sink).quarantined == 1
    assert sink.ids == ["b"]


@pytest.mark.parametrize("line", [b"", b"1 ", b"1 00000000 ", b"2 00000000 {}", b"\x00" * 40, b"1 zzzzzzzz {}"])
def test_lines_that_are_none(line: bytes) -> None:
    assert decode_line(line) is None


def test_full_is_an_error_and_what_was_stored_stays(store: Spool) -> None:
    small = Spool(store.folder, bytes_max=1_000)
    put(small, "a")
    with pytest.raises(SpoolFullError, match="hookbus spool flush"):
        put(small, "b", size=2_000)
    sink = Sink()
    drain(small, sink)
    assert sink.ids == ["a"]


def test_a_failed_write_leaves_no_half_of_it(store: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, "a")

    def fail(descriptor: Any):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool_files.os, "fsync", fail)
        with pytest.raises(SpoolFullError):
            put(store, "b")
    put(store, "c")
    sink = Sink()
    drain(store, sink)
    assert sink.ids == ["a", "c"]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError):
        put(Spool(str(tmp_path / "file" / "spool")), "a")


def test_a_link_in_the_place_of_a_segment_is_not_followed(store: Spool, tmp_path: Path) -> None:
    put(store, "a")
    name = store.segments()[0]
    Path(store.path(name)).unlink()
    target = tmp_path / "victim"
    target.write_bytes(b"")
    Path(store.path(name)).symlink_to(target)
    with pytest.raises(SpoolError):
        put(store, "b")
    assert target.read_bytes() == b""


def test_a_gateway_that_goes_away_gets_the_rest_later_from_where_it_was(
    store: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain_module, "BATCH_EVENTS_MAX", 2)
    put(store, *"abcde")
    sink = Sink()
    sink.away_after = 1
    report = drain(store, sink)
    assert isinstance(report.error, GatewayAwayError)
    assert status(store)["waiting_events"] == 3
    sink.away_after = None
    drain(store, sink)
    assert sink.ids == list("abcde")


def test_a_lost_cursor_costs_a_repetition_and_no_event(store: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain_module, "BATCH_EVENTS_MAX", 2)
    put(store, *"abcd")
    sink = Sink()
    sink.away_after = 1
    drain(store, sink)
    Path(store.path(spool_module.CURSOR_FILE)).unlink()
    sink.away_after = None
    drain(store, sink)
    assert sink.ids == list("ababcd")


@pytest.mark.parametrize("content", ["", "x", "x 5", "1.seg 99999999999", "1.seg -1", "\x00\xff"])
def test_a_cursor_that_makes_no_sense_is_not_believed(store: Spool, content: str) -> None:
    put(store, "a")
    with Path(store.path(spool_module.CURSOR_FILE)).open("w") as cursor:
        cursor.write(content)
    sink = Sink()
    drain(store, sink)
    assert sink.ids == ["a"]


def test_a_cursor_beyond_its_segment_skips_nothing(store: Spool) -> None:
    put(store, "a")
    with Path(store.path(spool_module.CURSOR_FILE)).open("w") as cursor:
        cursor.write(f"{store.segments()[0]} 99999\n")
    sink = Sink()
    drain(store, sink)
    assert sink.ids == ["a"]


def test_refused_events_are_kept_with_the_reason_and_hold_nobody_up(store: Spool) -> None:
    put(store, "a", "b", "c")
    sink = Sink()
    sink.refused = {"b": 1}
    report = drain(store, sink)
    assert (list(report.sent), list(report.refused)) == (["a", "c"], ["b"])
    with Path(store.path(spool_module.REJECTED_FILE)).open() as rejected:
        entry = json.loads(rejected.read())
    assert (entry["event"]["id"], entry["code"], entry["detail"]) == ("b", "body_invalid", "no")
    assert status(store)["rejected_events"] == 1


def test_one_event_that_spoils_its_request_is_found(store: Spool) -> None:
    put(store, *"abcd")
    sink = Sink()

    def send(batch: Any):
        if any(event["id"] == "c" for event in batch):
            raise EventRefusedError(413, "too_large", "no")
        return sink(batch)

    report = drain(store, send)
    assert (sink.ids, list(report.refused)) == (list("abd"), ["c"])


def test_a_full_rejected_file_stops_the_replay_and_loses_nothing(store: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "SET_ASIDE_BYTES_MAX", 10)
    put(store, "a")
    sink = Sink()
    sink.refused = {"a": 1}
    assert isinstance(drain(store, sink).error, SpoolFullError)
    assert status(store)["waiting_events"] == 1


def test_an_unanswered_event_stays(store: Spool) -> None:
    put(store, "a", "b")

    def send(batch: Any):
        receipt = Receipt()
        receipt.accepted["a"] = 1
        return receipt

    assert isinstance(drain(store, send).error, GatewayAwayError)
    assert status(store)["waiting_events"] == 2


def test_the_work_of_one_replay_is_bounded(store: Spool) -> None:
    put(store, *(f"e{number}" for number in range(30)))
    sink = Sink()
    drain(store, sink, events_max=7)
    assert len(sink.ids) == 7
    drain(store, sink, deadline=5.0, clock=lambda: 6.0)
    assert len(sink.ids) == 7
    drain(store, sink)
    assert sink.ids == [f"e{number}" for number in range(30)]


def test_only_one_process_replays(store: Spool) -> None:
    put(store, "a")
    with FileLock(store.path(spool_module.DRAIN_LOCK), 0.0) as locked:
        assert locked
        sink = Sink()
        assert drain(store, sink).busy
        assert sink.ids == []


def test_what_is_appended_during_a_replay_is_replayed(store: Spool) -> None:
    put(store, "a")
    sink = Sink()

    def send(batch: Any):
        if not sink.ids:
            put(store, "b")
        return sink(batch)

    drain(store, send)
    assert sink.ids == ["a", "b"]


def test_a_new_segment_is_never_named_like_an_old_one(store: Spool) -> None:
    sink = Sink()
    for name in "abc":
        put(store, name)
        drain(store, sink)
    assert sink.ids == list("abc")
