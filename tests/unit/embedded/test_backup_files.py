"""What a backup copies of a data folder at work: what vanishes is left out, what opens the keys is not missed."""

import shutil
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from hookbus.audit.anchors import AnchorFile
from hookbus.audit.note import Checkpoint
from hookbus.audit.signing.files import create_key_file, write_private
from hookbus.audit.signing.signer import Signer, SignRequest
from hookbus.audit.tree import Frontier
from hookbus.embedded.backup import take
from hookbus.embedded.layout import Layout

WAIT_S = 10.0


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "data")
    layout.audit_passphrase_file.parent.mkdir(parents=True)
    write_private(layout.audit_passphrase_file, b"the first passphrase")
    create_key_file(layout.audit_signing_key_file)
    (layout.root / "spool").mkdir()
    for number in range(3):
        (layout.root / "spool" / f"{number}.seg").write_text(f"segment {number}")
    return layout


@pytest.fixture
def copied(tmp_path: Path) -> Layout:
    (tmp_path / "copy").mkdir()
    return Layout(tmp_path / "copy")


def test_files_and_folders_that_vanish_while_they_are_copied_are_left_out(
    layout: Layout, copied: Layout, monkeypatch: pytest.MonkeyPatch
):
    """A segment of the spool that is sent, a draft that is put in its place, each at the worst moment."""
    spool, draft = layout.root / "spool", layout.root / "audit" / ".passphrase.7"
    (spool / "aside").mkdir()
    draft.write_bytes(b"draft")
    copy, iterate = shutil.copy2, Path.iterdir

    def sent(source: Path, target: Path) -> Path | str:
        if source.name in {"1.seg", draft.name}:
            source.unlink()
        return copy(source, target)

    def emptied(folder: Path) -> Generator[Path]:
        if folder.name == "aside":
            folder.rmdir()
        return iterate(folder)

    monkeypatch.setattr(shutil, "copy2", sent)
    monkeypatch.setattr(Path, "iterdir", emptied)
    take.copy_files(layout, copied.root)
    monkeypatch.undo()
    assert {path.name for path in (copied.root / "spool").glob("*.seg")} == {"0.seg", "2.seg"}
    assert copied.audit_passphrase_file.read_bytes() == b"the first passphrase"
    assert copied.audit_signing_key_file.read_bytes() == layout.audit_signing_key_file.read_bytes()
    assert not (copied.root / "audit" / draft.name).exists()


def test_a_next_passphrase_that_takes_its_place_while_the_folder_is_copied_is_in_the_copy(
    layout: Layout, copied: Layout, monkeypatch: pytest.MonkeyPatch
):
    """The keys are wrapped under it already."""
    current = layout.audit_passphrase_file
    after = current.with_name("passphrase.next")
    write_private(after, b"the next passphrase")
    copy = shutil.copy2

    def then_adopted(source: Path, target: Path) -> Path | str:
        done = copy(source, target)
        if source in {current, after} and after.exists():
            after.replace(current)
        return done

    monkeypatch.setattr(shutil, "copy2", then_adopted)
    take.copy_files(layout, copied.root)
    monkeypatch.undo()
    assert b"the next passphrase" in {path.read_bytes() for path in copied.audit_passphrase_file.parent.iterdir()}


def test_no_rotation_of_the_signing_key_begins_while_its_files_are_copied(
    layout: Layout, copied: Layout, monkeypatch: pytest.MonkeyPatch
):
    """A key of after it beside handovers of before it would open no log."""
    signer = Signer("log.example/one", layout.audit_signing_key_file)
    signer.sign(SignRequest(Checkpoint("log.example/one", 0, Frontier().root), 0, ()), now_s=1)
    rotated = threading.Event()

    def rotate() -> None:
        signer.rotate()
        rotated.set()

    thread = threading.Thread(target=rotate)
    copy = shutil.copy2

    def meanwhile(source: Path, target: Path) -> Path | str:
        if source == layout.audit_signing_key_file:
            thread.start()
            # As long as it may take where nothing holds it.
            assert not rotated.wait(0.5)
        return copy(source, target)

    monkeypatch.setattr(shutil, "copy2", meanwhile)
    take.copy_files(layout, copied.root)
    monkeypatch.undo()
    thread.join(WAIT_S)
    assert rotated.is_set()
    assert Signer("log.example/one", copied.audit_signing_key_file).handovers == ()


def test_an_anchor_file_with_a_line_cut_short_is_read_to_its_newest_whole_line(tmp_path: Path):
    """Also one of a file system that lets it only grow, where the next line stands behind what is left of the other."""
    anchor = AnchorFile(tmp_path / "anchor.jsonl")
    anchor.add(Checkpoint("log", 1, bytes(32)), "log\n1\n")
    whole = anchor.path.read_bytes()
    torn = whole.replace(b"1", b"2")[:-20]
    for body in (whole + torn, torn + b"\n" + whole, whole + torn + b"\n"):
        anchor.path.write_bytes(body)
        assert take.newest_anchor(anchor.path) == "log\n1\n"
    anchor.path.write_bytes(b"{not json}\n")
    with pytest.raises(ValueError, match="Expecting"):
        take.newest_anchor(anchor.path)
