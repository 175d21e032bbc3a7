"""Settings files on disk: read, backed up, replaced whole or not at all, and put back byte for byte."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from hookbus.cli.install.variables import Written, digest

FOLDER: Final = "installs"
BACKUP_SUFFIX: Final = ".hookbus-backup"
PRIVATE_MODE: Final = 0o600
FILE_BYTES_MAX: Final = 4 * 1024 * 1024


@dataclass(frozen=True)
class Record:
    """What an installation left behind: the content it wrote, and whether a file was there before."""

    installed_sha256: str
    existed: bool
    written: dict[str, list[str]] | None
    """What it added beside the hooks: names, with digests of their values; None in a note that does not say."""


class Target:
    """One settings file, and the note in the data folder of what was done to it. A link is followed."""

    def __init__(self, path: Path, data_dir: Path) -> None:
        self.path = Path(os.path.realpath(path))
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:40]
        self._note = data_dir / FOLDER / f"{name}.json"
        self.backup = self.path.with_name(self.path.name + BACKUP_SUFFIX)

    def read(self) -> bytes | None:
        """The file's content, None where there is none. Raises OSError."""
        try:
            with self.path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        if len(content) > FILE_BYTES_MAX:
            raise OSError(f"{self.path} is over {FILE_BYTES_MAX} bytes")
        return content

    def original(self, content: bytes | None) -> tuple[bool, bytes | None]:
        """Whether ``content`` is what an installation wrote, and what was there before it."""
        record = self._record()
        if record is None or content is None or _sha256(content) != record.installed_sha256:
            return False, content
        if not record.existed:
            return True, None
        try:
            return True, self.backup.read_bytes()
        except FileNotFoundError:
            return False, content

    def written(self) -> Written | None:
        """What the last installation added beside the hooks; None where that is not known."""
        record = self._record()
        return None if record is None else record.written

    def install(self, before: bytes | None, after: bytes, *, private: bool, added: Mapping[str, str]) -> None:
        """Write ``after``, with ``before`` kept as the backup and ``added`` noted. Raises OSError."""
        if before is not None:
            _replace(self.backup, before, PRIVATE_MODE)
        mode = PRIVATE_MODE if private else self._mode()
        earlier = self.written() or {}
        written = {name: [digest(value)] for name, value in added.items()}
        both = {name: [*written.get(name, []), *earlier.get(name, ())] for name in {**earlier, **written}}
        self._note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Until the file is written it holds what the installation before this one added: ended in between, both are
        # known.
        self._write_note(before, after, both)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _replace(self.path, after, mode)
        self._write_note(before, after, written)

    def restore(self, content: bytes | None) -> None:
        """Put ``content`` back, or remove the file where there was none; forget the installation. Raises OSError."""
        if content is None:
            self.path.unlink(missing_ok=True)
        else:
            _replace(self.path, content, self._mode())
        self.backup.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _write_note(self, before: bytes | None, after: bytes, written: Mapping[str, list[str]]) -> None:
        note = {
            "path": str(self.path),
            "installed_sha256": _sha256(after),
            "existed": before is not None,
            "written": written,
        }
        _replace(self._note, json.dumps(note).encode(), PRIVATE_MODE)

    def _mode(self) -> int:
        try:
            return self.path.stat().st_mode & 0o777
        except FileNotFoundError:
            return 0o644

    def _record(self) -> Record | None:
        try:
            note: Any = json.loads(self._note.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(note, dict):
            return None
        known = cast("dict[str, Any]", note)
        return Record(str(known.get("installed_sha256")), known.get("existed") is True, _written(known.get("written")))


def _written(value: Any) -> dict[str, list[str]] | None:
    if not isinstance(value, dict):
        return None
    known = cast("dict[str, Any]", value)
    return {name: cast("list[str]", digests) for name, digests in known.items() if isinstance(digests, list)}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Write a file beside the old one and put it in its place: whoever reads sees one or the other, whole."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
