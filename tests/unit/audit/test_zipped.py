"""A zip file that lies about itself, or is damaged, is a fault of the export: never an error, never a full memory."""

import random
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.paper_log import PaperLog, write_bundle

from hookbus.audit import zipped
from hookbus.audit.bundle import Against, Bundle, check_bundle
from hookbus.audit.export import CHECKPOINT, CHECKPOINTS
from hookbus.audit.inspection import FaultError
from hookbus.audit.zipped import ZippedParts

BOMB_BYTES = 32 * 1024 * 1024
MEMORY_BYTES_MAX = 2 * 1024 * 1024
LOCAL_HEADER, CENTRAL_HEADER = b"PK\x03\x04", b"PK\x01\x02"
SIZE_AT = {LOCAL_HEADER: 22, CENTRAL_HEADER: 24}
"""Where a header declares how large the part is once it is unpacked."""

Take = Callable[[ZippedParts, str], object]
WAYS: dict[str, Take] = {
    "whole": lambda parts, name: parts.read(name),
    "line by line": lambda parts, name: sum(len(line) for line in parts.lines(name)),
}


def packed(path: Path, name: str, body: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(name, body)
    return path


def declare(path: Path, size: int) -> None:
    """Have both headers of the one part declare another size."""
    whole = bytearray(path.read_bytes())
    for header, at in SIZE_AT.items():
        struct.pack_into("<I", whole, whole.index(header) + at, size)
    path.write_bytes(whole)


def damage(path: Path) -> None:
    """Break the compressed stream itself."""
    whole = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        info = archive.infolist()[0]
    begin = info.header_offset + 30 + len(info.filename)
    for at in range(begin, begin + min(64, info.compress_size)):
        whole[at] ^= 0xFF
    path.write_bytes(whole)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("declared", [10, 0, BOMB_BYTES - 1])
def test_a_part_that_declares_less_than_it_holds_is_a_fault(tmp_path: Path, way: str, declared: int):
    path = packed(tmp_path / "bomb.zip", "part", bytes(BOMB_BYTES))
    declare(path, declared)
    parts = ZippedParts(path)
    with pytest.raises(FaultError):
        WAYS[way](parts, "part")
    parts.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_part_that_declares_little_takes_little_memory_whatever_it_holds(tmp_path: Path, way: str):
    path = packed(tmp_path / "bomb.zip", "part", bytes(BOMB_BYTES))
    declare(path, 10)
    parts = ZippedParts(path)
    tracemalloc.start()
    try:
        with pytest.raises(FaultError):
            WAYS[way](parts, "part")
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()
        parts.close()


def test_a_line_without_an_end_is_not_read_to_its_end(tmp_path: Path):
    parts = ZippedParts(packed(tmp_path / "bomb.zip", "part", b"[" * BOMB_BYTES))
    tracemalloc.start()
    try:
        with pytest.raises(FaultError, match="longer than any note"):
            list(parts.lines("part"))
        assert tracemalloc.get_traced_memory()[1] < MEMORY_BYTES_MAX
    finally:
        tracemalloc.stop()
        parts.close()


def test_a_part_that_is_read_whole_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(zipped, "PART_BYTES_MAX", 1_000)
    parts = ZippedParts(packed(tmp_path / "a.zip", "part", bytes(1_000)))
    assert parts.read("part") == bytes(1_000)
    parts.close()
    parts = ZippedParts(packed(tmp_path / "b.zip", "part", bytes(1_001)))
    with pytest.raises(FaultError, match="larger"):
        parts.read("part")
    assert b"".join(parts.lines("part")) == bytes(1_001)
    parts.close()


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_what_unpacks_without_a_bound_is_not_unpacked(tmp_path: Path, compression: int):
    parts = ZippedParts(packed(tmp_path / "a.zip", "part", bytes(100), compression))
    for take in WAYS.values():
        with pytest.raises(FaultError, match="no export"):
            take(parts, "part")
    parts.close()


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
def test_a_damaged_part_is_a_fault(tmp_path: Path, compression: int):
    """Where the library would say zlib.error, or BadZipFile, or that a name is unknown."""
    path = packed(tmp_path / "a.zip", "part", random.Random(1).randbytes(500) + b"\n" * 500, compression)
    whole = ZippedParts(path)
    for take in WAYS.values():
        assert take(whole, "part")
    whole.close()
    damage(path)
    damaged = ZippedParts(path)
    for take in WAYS.values():
        for name in ("part", "absent"):
            with pytest.raises(FaultError, match="missing or damaged"):
                take(damaged, name)
    damaged.close()


def test_no_flip_of_a_bit_makes_the_check_of_an_export_fail_with_an_error(tmp_path: Path):
    log = PaperLog(tmp_path)
    log.append(3)
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in log.parts().items():
            archive.writestr(name, body)
    whole = (tmp_path / "export.zip").read_bytes()
    chance = random.Random(2)
    for _ in range(400):
        doctored = bytearray(whole)
        doctored[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (tmp_path / "doctored.zip").write_bytes(doctored)
        try:
            bundle = Bundle(tmp_path / "doctored.zip")
        except FaultError:
            continue
        check_bundle(bundle, Against(log.pinned))
        bundle.close()


@pytest.mark.parametrize("name", [CHECKPOINT, CHECKPOINTS])
def test_an_export_with_a_damaged_part_is_reported_not_raised(tmp_path: Path, name: str):
    log = PaperLog(tmp_path)
    log.append(3)
    assert check_bundle(Bundle(write_bundle(tmp_path / "good.zip", log.parts())), Against(log.pinned)).fault is None
    parts = log.parts()
    rest = {other: body for other, body in parts.items() if other != name}
    path = packed(tmp_path / "export.zip", name, parts[name])
    damage(path)
    with zipfile.ZipFile(path, "a") as archive:
        for other, body in rest.items():
            archive.writestr(other, body)
    bundle = Bundle(path)
    fault = check_bundle(bundle, Against(log.pinned)).fault
    bundle.close()
    assert fault is not None
    assert name in fault.text
