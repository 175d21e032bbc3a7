"""Checks of the log made on this machine, with a key of one's own: of a file, or of the live log read through its API.

Nothing here trusts the service: what it sends is recomputed (``hookbus.audit``), and held against the pinned key, an
anchor file, witnesses and the checkpoint this machine saw last.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hookbus.audit.anchors import AnchorFile
from hookbus.audit.bundle import Against, Bundle, Checked, check_bundle
from hookbus.audit.export import CHECKPOINT, CHECKPOINTS, HANDOVERS, KEYS, PRUNE, Export
from hookbus.audit.exported_keys import read_keys
from hookbus.audit.forks import FORMAT, ForkUnprovenError, check_fork
from hookbus.audit.inspection import FaultError
from hookbus.audit.keys import KeyUnusableError
from hookbus.audit.note import TYPE_COSIGNATURE, Checkpoint, NoteInvalidError, SignedNote, VerifierKey
from hookbus.audit.receipt import ReceiptInvalidError, check_receipt
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands.audit_progress import shown
from hookbus.cli.errors import EXIT_NO, EXIT_USAGE, CliError, NotFoundError

CHECKPOINTS_PER_PAGE: Final = 500
FILE_BYTES_SMALL_MAX: Final = 1024 * 1024
"""No receipt and no proof of a fork is larger."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to check a log against, as the command line says it."""

    pinned: VerifierKey
    anchor: Path | None = None
    witnesses: Sequence[VerifierKey] = ()
    seen: str | None = None
    """The newest checkpoint this machine saw verified."""
    fork_file: Path = Path("fork-proof.json")
    silent: bool = False

    def against(self) -> Against:
        """The same with the anchor read; raises FaultError where that is damaged."""
        notes: list[str] = []
        if self.anchor is not None:
            if not self.anchor.is_file():
                raise CliError(f"{self.anchor} is no file", EXIT_USAGE)
            try:
                notes = AnchorFile(self.anchor).notes()
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise FaultError(None, f"the anchor file is damaged: {error}") from error
        if self.seen is not None:
            notes.append(self.seen)
        return Against(self.pinned, notes, self.witnesses)


def parse_key(text: str, option: str = "--key") -> VerifierKey:
    """A public key, or a file that holds it; raises CliError."""
    path = Path(text)
    if "+" not in text and path.is_file():
        text = path.read_text(encoding="utf-8")
    try:
        return VerifierKey.parse(text)
    except NoteInvalidError as error:
        raise CliError(f"{option}: {error}", EXIT_USAGE) from error


def parse_witness(text: str) -> VerifierKey:
    """The public key of a witness; raises CliError."""
    return parse_key(text, "--witness").as_type(TYPE_COSIGNATURE)


def check_file(file: Path, wanted: Wanted, *, leaves: bool, decrypt: bool, passphrase: bytes | None) -> JsonObject:
    """A receipt, the proof of a fork, or an exported log: told apart by how they begin."""
    with file.open("rb") as opened:
        head = opened.read(len(FORMAT) * 2)
    if head.startswith(b"PK"):
        return _check_export(file, wanted, leaves=leaves, decrypt=decrypt, passphrase=passphrase)
    if file.stat().st_size > FILE_BYTES_SMALL_MAX:
        return {"ok": False, "fault": "the file is no receipt, no proof of a fork and no exported log"}
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        return {"ok": False, "fault": f"the file is no text: {error}"}
    return _check_fork(text, wanted.pinned) if FORMAT in text[: len(head)] else _check_receipt(text, wanted.pinned)


def check_live(api: Api, wanted: Wanted, *, leaves: bool) -> JsonObject:
    """The live log, read through the API and recomputed here."""
    try:
        with shown("checking here", silent=wanted.silent) as advance:
            found = check_bundle(ApiExport(api), wanted.against(), leaves=leaves, progress=advance)
    except FaultError as fault:
        return {"ok": False, "fault": str(fault), "first_bad_index": fault.index}
    return _report(found, wanted)


def _check_export(file: Path, wanted: Wanted, *, leaves: bool, decrypt: bool, passphrase: bytes | None) -> JsonObject:
    try:
        against = wanted.against()
        bundle = Bundle(file)
    except FaultError as fault:
        return {"ok": False, "fault": str(fault)}
    try:
        keys = None
        if decrypt and passphrase is not None:
            if not bundle.holds(KEYS):
                raise CliError("this export holds no keys: make one with --with-keys", EXIT_USAGE)
            keys = read_keys(bundle.read(KEYS), passphrase)
        with shown("checking", silent=wanted.silent) as advance:
            found = check_bundle(bundle, against, leaves=leaves, keys=keys, progress=advance)
    except (FaultError, KeyUnusableError) as fault:
        return {"ok": False, "fault": str(fault)}
    finally:
        bundle.close()
    return _report(found, wanted) | {"decrypted": keys is not None}


def _check_receipt(text: str, pinned: VerifierKey) -> JsonObject:
    try:
        proven = check_receipt(text, pinned)
    except ReceiptInvalidError as error:
        return {"ok": False, "fault": str(error)}
    return {
        "ok": True,
        "event_id": proven.event_id,
        "index": proven.index,
        "size": proven.size,
        "words": f"event {proven.event_id} is entry {proven.index} of a log of {proven.size}",
    }


def _check_fork(text: str, pinned: VerifierKey) -> JsonObject:
    try:
        fork = check_fork(text, pinned)
    except ForkUnprovenError as error:
        return {"ok": False, "fault": str(error)}
    return {
        "ok": True,
        "forked": True,
        "sizes": [fork.earlier.size, fork.later.size],
        "words": f"the proof holds: the log signed two histories, at sizes {fork.earlier.size} and {fork.later.size}",
    }


def _report(found: Checked, wanted: Wanted) -> JsonObject:
    fault = found.fault
    reply: JsonObject = {
        "ok": fault is None,
        "size": found.size,
        "root_hash": found.root.hex(),
        "checked": found.checked,
        "checkpoints": found.checkpoints,
        "cosigned": dict(found.cosigned),
        "first_bad_index": None if fault is None else fault.index,
        "fault": None if fault is None else str(fault),
    }
    if found.fork is not None:
        wanted.fork_file.write_text(found.fork, encoding="utf-8")
        reply["fork_proof"] = str(wanted.fork_file)
    return reply


class ApiExport(Export):
    """The live log as an export: the size is that of the newest checkpoint at the beginning."""

    def __init__(self, api: Api) -> None:
        super().__init__(_ApiParts(api))


class _ApiParts:
    def __init__(self, api: Api) -> None:
        self._api = api
        self._newest: JsonObject | None = None

    def read(self, name: str) -> bytes:
        try:
            if name.startswith(("tile/", "detached/")):
                return self._api.content(f"/api/v1/audit/{name}")
            newest = self._newest_known()
        except NotFoundError as error:
            raise FaultError(None, f"{name} is missing: {error}") from error
        if name == CHECKPOINT:
            return str(newest["note"]).encode()
        if name == HANDOVERS:
            return json.dumps(newest.get("handovers", [])).encode()
        if name == PRUNE and newest.get("pruned") is not None:
            return json.dumps({"note": newest["pruned"], "index": newest.get("pruned_index")}).encode()
        raise FaultError(None, f"{name} is missing")

    def lines(self, name: str) -> Iterator[bytes]:
        if name != CHECKPOINTS:
            raise FaultError(None, f"{name} is missing")
        for note in published(self._api, size_of(str(self._newest_known()["note"]))):
            yield json.dumps(note).encode()

    def _newest_known(self) -> JsonObject:
        if self._newest is None:
            self._newest = self._api.get("/api/v1/audit/key")
        return self._newest


def published(api: Api, size_max: int) -> Iterator[str]:
    """The notes of every checkpoint up to a size, page by page: the log goes on growing while it is read."""
    after: int | None = -1
    while after is not None:
        reply = api.get("/api/v1/audit/checkpoints", after_size=after, page_items=CHECKPOINTS_PER_PAGE)
        for note in map(str, reply.get("notes", [])):
            if size_of(note) > size_max:
                return
            yield note
        after = reply.get("after_size")


def size_of(note: str) -> int:
    """The size a note speaks of; raises CliError for what is no checkpoint."""
    with suppress(NoteInvalidError):
        return Checkpoint.parse(SignedNote.parse(note).text).size
    raise CliError("the gateway answered with what is no checkpoint", EXIT_NO)
