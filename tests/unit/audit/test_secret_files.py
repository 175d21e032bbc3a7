"""Secret files and append-only files through crashes and full disks: a name shows a whole secret or nothing, and a line
is there whole or not at all."""

import os
from pathlib import Path

import pytest
from support.full_disk import NO_ROOM, room

from hookbus.audit.anchors import AnchorFile
from hookbus.audit.keys import KekParameters, KeyUnusableError
from hookbus.audit.note import Checkpoint
from hookbus.audit.passphrases import KekFiles, KekKind, SecretFile
from hookbus.audit.signing.files import append_line, destroy, write_private

SECRET = b"correct horse battery staple\n"
LINE = b"a line of forty characters and no more.."


def test_a_secret_is_destroyed_without_a_moment_in_which_its_name_shows_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Looked at with every sync, before which a process may die; what it held is overwritten all the same."""
    path, held = tmp_path / "passphrase.next", tmp_path / "held"
    write_private(path, SECRET)
    held.hardlink_to(path)
    seen: list[bytes | None] = []
    sync = os.fsync

    def looked_at(descriptor: int) -> None:
        seen.append(path.read_bytes() if path.exists() else None)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", looked_at)
    destroy(path)
    assert seen
    assert set(seen) <= {SECRET, None}
    assert not path.exists()
    assert held.read_bytes() == bytes(len(SECRET))


def parameters_of(files: KekFiles, folder: Path, kind: KekKind) -> KekParameters:
    """Of a log that is begun with the kind."""
    if kind is KekKind.KEY_FILE:
        write_private(folder / "kek", os.urandom(32))
        return files.create()[1]
    write_private(folder / "passphrase", SECRET)
    return KekFiles(folder / "passphrase", None, os.urandom).create()[1]


@pytest.mark.parametrize("kind", list(KekKind))
def test_what_is_left_of_a_destroyed_secret_is_never_taken_for_one(tmp_path: Path, kind: KekKind):
    """The next secret is made anew then, and a secret in use is refused: all keys would be wrapped under zeros."""
    files = KekFiles(tmp_path / "passphrase", tmp_path / "kek", os.urandom)
    path = tmp_path / ("passphrase" if kind is KekKind.PASSPHRASE else "kek")
    after = path.with_name(path.name + ".next")
    first = files.next(parameters_of(files, tmp_path, kind), kind)
    first.adopt()
    size = path.stat().st_size
    write_private(after, bytes(size))
    fresh = files.next(first.parameters, None)
    assert any(after.read_bytes())
    fresh.adopt()
    assert files.load(fresh.parameters).check == fresh.kek.check
    write_private(after, bytes(size))
    SecretFile(path).adopt_next()
    assert files.load(fresh.parameters).check == fresh.kek.check, "zeros took the place of the secret"
    write_private(path, bytes(size))
    with pytest.raises(KeyUnusableError, match="nothing but zeros"):
        KekFiles(tmp_path / "passphrase", path if kind is KekKind.KEY_FILE else None, os.urandom).create()


def test_a_full_disk_leaves_a_secret_as_it_was(tmp_path: Path):
    path = tmp_path / "passphrase"
    write_private(path, SECRET)
    with room(10), pytest.raises(OSError, match=NO_ROOM):
        write_private(path, SECRET[::-1])
    assert path.read_bytes() == SECRET
    assert list(tmp_path.iterdir()) == [path]


def test_a_line_that_a_full_disk_cuts_short_is_not_there_and_its_writer_is_told(tmp_path: Path):
    path = tmp_path / "lines"
    append_line(path, LINE)
    with room(len(LINE) + 21), pytest.raises(OSError, match=NO_ROOM):
        append_line(path, LINE)
    assert path.read_bytes() == LINE + b"\n"
    append_line(path, LINE[::-1])
    assert path.read_bytes() == LINE + b"\n" + LINE[::-1] + b"\n"


@pytest.mark.parametrize("torn", [b'{"half', b"x" * 10_000], ids=["short", "longer than what is read at once"])
@pytest.mark.parametrize("before", [b"", LINE + b"\n"], ids=["first", "later"])
def test_a_line_that_a_crash_cut_short_is_cut_off_before_the_next(tmp_path: Path, before: bytes, torn: bytes):
    path = tmp_path / "lines"
    path.write_bytes(before + torn)
    append_line(path, LINE)
    assert path.read_bytes() == before + LINE + b"\n"


def test_where_nothing_may_be_cut_off_the_next_line_begins_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def forbidden(_descriptor: int, _length: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "ftruncate", forbidden)
    path = tmp_path / "lines"
    path.write_bytes(LINE + b'\n{"half')
    append_line(path, LINE)
    assert path.read_bytes().split(b"\n") == [LINE, b'{"half', LINE, b""]


def test_an_anchor_file_is_read_again_after_its_disk_was_full(tmp_path: Path):
    anchor = AnchorFile(tmp_path / "anchor.jsonl")
    anchor.add(Checkpoint("log.example/one", 1, bytes(32)), "first")
    with room(anchor.path.stat().st_size + 20), pytest.raises(OSError, match=NO_ROOM):
        anchor.add(Checkpoint("log.example/one", 2, bytes(32)), "second")
    assert anchor.notes() == ["first"]
    anchor.add(Checkpoint("log.example/one", 3, bytes(32)), "third")
    assert anchor.notes() == ["first", "third"]


def test_an_anchor_file_that_may_only_grow_is_read_past_the_line_a_crash_cut_short(tmp_path: Path):
    anchor = AnchorFile(tmp_path / "anchor.jsonl")
    for size, note in enumerate(("first", "second", "third"), start=1):
        anchor.add(Checkpoint("log.example/one", size, bytes(32)), note)
    lines = anchor.path.read_bytes().splitlines(keepends=True)
    anchor.path.write_bytes(lines[0] + lines[1][:-5] + b"\n" + lines[2])
    assert anchor.notes() == ["first", "third"]
    anchor.path.write_bytes(lines[0] + b"{broken}\n" + lines[2])
    with pytest.raises(ValueError, match="Expecting"):
        anchor.notes()
