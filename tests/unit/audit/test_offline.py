"""Receipts and exports, checked with nothing but a pinned key: whole ones pass, doctored ones do not."""

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.paper_log import PaperLog, write_bundle

from hookbus.audit.bundle import Against, Bundle, Checked, check_bundle
from hookbus.audit.inspection import FaultError, Record, check_record
from hookbus.audit.note import Checkpoint, SignedNote, sign_text
from hookbus.audit.receipt import ReceiptInvalidError, check_receipt, write_receipt
from hookbus.audit.signing.files import load_key_file
from hookbus.audit.tiles import TILE_WIDTH, LogTree, TileAddress, partial_addresses
from hookbus.audit.tree import leaf_hash


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    paper = PaperLog(tmp_path)
    for count in (1, 300, 40, 250):
        paper.append(count)
    paper.signer.rotate()
    paper.append(1, text="x" * 70_000)
    paper.append(7)
    return paper


def receipt_of(log: PaperLog, index: int) -> str:
    entry = log.entries[index]
    return write_receipt(
        event_id=entry.event_id,
        record=entry.record,
        index=index,
        proof=log.inclusion(index),
        checkpoint=log.notes[-1],
        handovers=log.signer.handovers,
    )


def checked(tmp_path: Path, log: PaperLog, parts: dict[str, bytes], *, leaves: bool = True) -> Checked:
    bundle = Bundle(write_bundle(tmp_path / "export.zip", parts))
    try:
        return check_bundle(bundle, Against(log.pinned), leaves=leaves)
    finally:
        bundle.close()


def test_a_receipt_proves_its_event(log: PaperLog):
    for index in (0, 3, 255, 256, log.size - 1):
        proven = check_receipt(receipt_of(log, index), log.pinned)
        assert (proven.index, proven.size, proven.event_id) == (index, log.size, log.entries[index].event_id)


def test_no_line_of_a_receipt_can_be_touched(log: PaperLog):
    text = receipt_of(log, 100)
    lines = text.split("\n")
    # The last line is the log's cosignature with the time: under another name it is a stranger's, and ignored.
    for number, line in enumerate(lines[:-2]):
        for changed in (line + "A", line[:-1], line[:8] + ("A" if line[8:9] != "A" else "B") + line[9:]):
            if changed == line:
                continue
            doctored = "\n".join([*lines[:number], changed, *lines[number + 1 :]])
            with pytest.raises(ReceiptInvalidError):
                check_receipt(doctored, log.pinned)


def test_a_receipt_of_another_event_index_or_log_is_refused(log: PaperLog, tmp_path: Path):
    other = PaperLog(tmp_path)
    other.append(50)
    with pytest.raises(ReceiptInvalidError):
        check_receipt(receipt_of(log, 10), other.pinned)
    mixed = write_receipt(
        event_id=log.entries[11].event_id,
        record=log.entries[10].record,
        index=10,
        proof=log.inclusion(10),
        checkpoint=log.notes[-1],
        handovers=log.signer.handovers,
    )
    with pytest.raises(ReceiptInvalidError, match="another event"):
        check_receipt(mixed, log.pinned)
    with pytest.raises(ReceiptInvalidError):
        check_receipt("", log.pinned)
    without = receipt_of(log, 10).split("\n")
    extra = json.loads(base64.b64decode(without[1].removeprefix("extra ")))
    extra["handovers"] = []
    without[1] = "extra " + base64.b64encode(json.dumps(extra).encode()).decode()
    with pytest.raises(ReceiptInvalidError):
        check_receipt("\n".join(without), log.pinned)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_whole_export_passes(log: PaperLog, tmp_path: Path, leaves: bool):
    found = checked(tmp_path, log, log.parts(), leaves=leaves)
    assert found.fault is None
    assert (found.size, found.checked, found.root) == (log.size, log.size, log.tree.frontier.root)
    assert found.checkpoints == len(log.notes) + 1


Doctor = Callable[[PaperLog, dict[str, bytes]], None]


def flip_entry(log: PaperLog, parts: dict[str, bytes]) -> None:
    body = bytearray(parts["tile/entries/001"])
    body[2 + 90] ^= 1
    parts["tile/entries/001"] = bytes(body)


def swap_entries(log: PaperLog, parts: dict[str, bytes]) -> None:
    first, second = (log.entries[index].record for index in (256, 257))
    body = parts["tile/entries/001"]
    head = b"".join(len(record).to_bytes(2) + record for record in (first, second))
    tail = b"".join(len(record).to_bytes(2) + record for record in (second, first))
    assert body.startswith(head)
    parts["tile/entries/001"] = tail + body[len(head) :]


def drop_entry(log: PaperLog, parts: dict[str, bytes]) -> None:
    record = log.entries[256].record
    parts["tile/entries/001"] = parts["tile/entries/001"][2 + len(record) :]


def flip_tile(log: PaperLog, parts: dict[str, bytes]) -> None:
    body = bytearray(parts["tile/0/001"])
    body[0] ^= 1
    parts["tile/0/001"] = bytes(body)


def flip_entry_and_tile(log: PaperLog, parts: dict[str, bytes]) -> None:
    flip_entry(log, parts)
    length = len(log.entries[256].record)
    parts["tile/0/001"] = leaf_hash(parts["tile/entries/001"][2 : 2 + length]) + parts["tile/0/001"][32:]


def drop_detached(log: PaperLog, parts: dict[str, bytes]) -> None:
    del parts[next(name for name in parts if name.startswith("detached/"))]


def flip_detached(log: PaperLog, parts: dict[str, bytes]) -> None:
    name = next(name for name in parts if name.startswith("detached/"))
    parts[name] = parts[name][:-1] + bytes([parts[name][-1] ^ 1])


def forge_checkpoint(log: PaperLog, parts: dict[str, bytes]) -> None:
    forged = Checkpoint(log.origin, log.size, bytes(32))
    parts["checkpoint"] = log.notes[-1].replace(SignedNote.parse(log.notes[-1]).text, forged.text).encode()


def drop_handover(log: PaperLog, parts: dict[str, bytes]) -> None:
    parts["handovers.json"] = b"[]"


def fork_with_the_stolen_key(log: PaperLog, parts: dict[str, bytes]) -> None:
    """A second checkpoint of the same size, properly signed."""
    private = load_key_file(log.folder / f"{log.log_id.hex()}.pem")
    text = Checkpoint(log.origin, log.size, bytes(32)).text
    forged = SignedNote(text, (sign_text(text, log.signer.verifier_key, private),))
    parts["checkpoints.jsonl"] += json.dumps(str(forged)).encode() + b"\n"


def all_records(log: PaperLog) -> list[bytes]:
    return [entry.record for entry in log.entries]


def rebuilt(log: PaperLog, parts: dict[str, bytes], records: list[bytes]) -> None:
    """The entries replaced and every tile recomputed, under the checkpoints as they were signed."""
    for name in [name for name in parts if name.startswith("tile/")]:
        del parts[name]
    for number in range(-(-len(records) // TILE_WIDTH)):
        rows = records[number * TILE_WIDTH : (number + 1) * TILE_WIDTH]
        address = TileAddress(None, number, len(rows))
        parts[f"tile/{address.path}"] = b"".join(len(record).to_bytes(2) + record for record in rows)
    tree, tiles = LogTree().appended([leaf_hash(record) for record in records])
    for tile in tiles:
        parts[f"tile/{TileAddress(tile.level, tile.number).path}"] = tile.hashes
    for address in partial_addresses(len(records)):
        parts[f"tile/{address.path}"] = b"".join(tree.partial[address.level or 0])


def drop_and_recompute(place: int) -> Doctor:
    """One entry left out, all others moved up, every hash made to fit."""

    def doctor(log: PaperLog, parts: dict[str, bytes]) -> None:
        records = all_records(log)
        del records[place]
        rebuilt(log, parts, records)

    return doctor


def duplicate_and_recompute(log: PaperLog, parts: dict[str, bytes]) -> None:
    records = all_records(log)
    records[301] = records[300]
    rebuilt(log, parts, records)


def splice_and_recompute(log: PaperLog, parts: dict[str, bytes]) -> None:
    """An entry of another log of the same age."""
    other = PaperLog(log.folder)
    other.append(400)
    records = all_records(log)
    records[300] = other.entries[300].record
    rebuilt(log, parts, records)


def flip_and_recompute(offset: int) -> Doctor:
    """One bit of a record, every hash made to fit."""

    def doctor(log: PaperLog, parts: dict[str, bytes]) -> None:
        records = all_records(log)
        changed = bytearray(records[300])
        changed[offset] ^= 1
        records[300] = bytes(changed)
        rebuilt(log, parts, records)

    return doctor


def truncate_and_continue(log: PaperLog, parts: dict[str, bytes]) -> None:
    """Back to an old checkpoint, and on from there with other entries."""
    records = all_records(log)
    rebuilt(log, parts, [*records[:303], *records[304:], records[303]])


def sign_early_with_the_new_key(log: PaperLog, parts: dict[str, bytes]) -> None:
    """The new key signs for a size of the old one's epoch: the right tree, but not the key to say so."""
    private = load_key_file(log.folder / f"{log.log_id.hex()}.pem")
    text = SignedNote.parse(log.notes[1]).text
    forged = SignedNote(text, (sign_text(text, log.signer.verifier_key, private),))
    parts["checkpoints.jsonl"] = parts["checkpoints.jsonl"].replace(
        json.dumps(log.notes[1]).encode(), json.dumps(str(forged)).encode()
    )


DOCTORS: dict[str, Doctor] = {
    "the first removed, recomputed": drop_and_recompute(0),
    "a middle one removed, recomputed": drop_and_recompute(300),
    "the last removed, recomputed": drop_and_recompute(-1),
    "doubled, recomputed": duplicate_and_recompute,
    "spliced, recomputed": splice_and_recompute,
    **{
        f"a bit of the {name}, recomputed": flip_and_recompute(offset)
        for name, offset in {
            "version": 0,
            "algorithm": 1,
            "stream": 2,
            "log id": 4,
            "index": 27,
            "event": 28,
            "time": 67,
            "key id": 68,
            "nonce": 84,
            "ciphertext": 96,
            "tag": -1,
        }.items()
    },
    "taken back and continued": truncate_and_continue,
    "signed by the key of another epoch": sign_early_with_the_new_key,
    "a bit of an entry": flip_entry,
    "swapped": swap_entries,
    "removed": drop_entry,
    "a bit of a tile": flip_tile,
    "an entry with its tile": flip_entry_and_tile,
    "detached part gone": drop_detached,
    "detached part changed": flip_detached,
    "forged checkpoint": forge_checkpoint,
    "handover gone": drop_handover,
    "forked with the key": fork_with_the_stolen_key,
}


@pytest.mark.parametrize("name", DOCTORS)
def test_a_doctored_export_is_found_out(log: PaperLog, tmp_path: Path, name: str):
    parts = log.parts()
    assert checked(tmp_path, log, parts).fault is None
    DOCTORS[name](log, parts)
    found = checked(tmp_path, log, parts)
    assert found.fault is not None, name


def test_the_doctored_entry_is_named(log: PaperLog, tmp_path: Path):
    for doctor in (flip_entry, swap_entries, drop_entry, flip_tile):
        parts = log.parts()
        doctor(log, parts)
        fault = checked(tmp_path, log, parts).fault
        assert fault is not None
        assert fault.index == TILE_WIDTH, doctor


def test_an_entry_doctored_with_all_its_hashes_is_narrowed_to_a_checkpoint(log: PaperLog, tmp_path: Path):
    parts = log.parts()
    flip_entry_and_tile(log, parts)
    fault = checked(tmp_path, log, parts).fault
    assert fault is not None
    # Checkpoints were signed at 3, 303, 343 ...: entry 256 lies between the first two.
    assert fault.index == 3
    assert "entries 3 to 302" in fault.text


def test_tiles_alone_show_a_rewritten_history(log: PaperLog, tmp_path: Path):
    parts = log.parts()
    flip_tile(log, parts)
    assert checked(tmp_path, log, parts, leaves=False).fault is not None


def test_what_is_no_export_is_refused(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"no zip")
    with pytest.raises(FaultError):
        Bundle(tmp_path / "x")
    with pytest.raises(FaultError):
        Bundle(tmp_path / "absent")


def test_an_export_taken_back_in_time_is_found_by_a_remembered_checkpoint(log: PaperLog, tmp_path: Path):
    old = log.parts()
    log.append(5)
    bundle = Bundle(write_bundle(tmp_path / "export.zip", old))
    assert check_bundle(bundle, Against(log.pinned)).fault is None
    # The later note may have been signed after another handover: the anchor keeps those as well.
    fault = check_bundle(bundle, Against(log.pinned, [log.notes[-1]])).fault
    bundle.close()
    assert fault is not None
    assert fault.index == log.size - 5
    assert "signed checkpoint" in fault.text


def test_a_record_out_of_its_place_is_told_by_its_header_alone(log: PaperLog):
    record = Record(log.entries[10].record)
    assert check_record(record, 10, log.log_id).index == 10
    with pytest.raises(FaultError, match="moved or swapped"):
        check_record(record, 11, log.log_id)
    with pytest.raises(FaultError, match="another log"):
        check_record(record, 10, bytes(16))
