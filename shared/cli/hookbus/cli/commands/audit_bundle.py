"""The whole log into one zip file, for checking it offline; with its data keys where that is asked for."""

import base64
import json
import os
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from hookbus.audit import export as layout
from hookbus.audit.exported_keys import open_sealed, write_keys
from hookbus.audit.keys import PASSPHRASE_BYTES_MIN, DataKey, KeyUnusableError
from hookbus.audit.prune_record import cut_of
from hookbus.audit.record import Algorithm, RecordInvalidError, parse_header
from hookbus.cli.api import Api, JsonObject
from hookbus.cli.commands.audit_local import published, size_of
from hookbus.cli.commands.audit_progress import Advance, shown
from hookbus.cli.errors import EXIT_USAGE, CliError

COVERED_WAIT_S: Final = 15.0
"""How long to wait for the checkpoint that covers the entry about the export itself."""
COVERED_POLL_S: Final = 0.25
FILE_MODE: Final = 0o600
"""An export may hold keys."""


def export_bundle(api: Api, out: Path, passphrase: bytes | None, *, silent: bool) -> int:
    """Write the bundle; how many entries it holds.

    Raises:
        CliError: the gateway's answer, or a passphrase that is too short.
    """
    keys: dict[bytes, DataKey] = {}
    if passphrase is not None:
        if len(passphrase) < PASSPHRASE_BYTES_MIN:
            raise CliError(f"the passphrase is shorter than {PASSPHRASE_BYTES_MIN} bytes", EXIT_USAGE)
        # What these keys lack was erased before; the tombstones of that are below this size.
        size_min = _add_keys(api, keys)
        newest = _newest_covering(api, size_min)
        # Those made meanwhile.
        _add_keys(api, keys)
    else:
        newest = api.get("/api/v1/audit/key")
    note = str(newest["note"])
    size = size_of(note)
    with (
        open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, FILE_MODE), "wb") as file,  # noqa: PTH123 - with its mode
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.writestr(layout.CHECKPOINT, note)
        archive.writestr(layout.HANDOVERS, json.dumps(newest.get("handovers", [])))
        archive.writestr(layout.VERIFIER_KEY, str(newest["verifier_key"]))
        _add_checkpoints(archive, published(api, size))
        if passphrase is not None:
            archive.writestr(layout.KEYS, write_keys(list(keys.values()), passphrase, os.urandom))
        with shown("exporting", silent=silent) as advance:
            _add_tiles(api, archive, size, _add_prune(archive, newest), advance)
    return size


def _add_checkpoints(archive: zipfile.ZipFile, notes: Iterable[str]) -> None:
    """One line each as they come: a log that moves for a year has millions."""
    with archive.open(layout.CHECKPOINTS, "w", force_zip64=True) as part:
        for note in notes:
            part.write(json.dumps(note).encode() + b"\n")


def _add_prune(archive: zipfile.ZipFile, newest: JsonObject) -> int:
    """The record of what the log no longer holds; how many entries that are."""
    note = newest.get("pruned")
    if note is None:
        return 0
    archive.writestr(layout.PRUNE, json.dumps({"note": note, "index": newest.get("pruned_index")}))
    return cut_of(str(note))


def _add_tiles(api: Api, archive: zipfile.ZipFile, size: int, pruned: int, advance: Advance) -> None:
    done = pruned
    for address in layout.addresses_of(size, pruned):
        body = api.content(f"/api/v1/audit/tile/{address.path}")
        # Ciphertext and hashes do not compress.
        archive.writestr(f"tile/{address.path}", body, zipfile.ZIP_STORED)
        if address.level is None:
            _add_detached(api, archive, body)
            done += address.width
            advance(done, size)


def _add_detached(api: Api, archive: zipfile.ZipFile, body: bytes) -> None:
    try:
        headers = [parse_header(record) for record in layout.split_records(body)]
    except (RecordInvalidError, ValueError) as error:
        raise CliError(f"the log is damaged: {error}. Run `hookbus audit verify`") from error
    for header in headers:
        if header.algorithm == Algorithm.AES_256_GCM_DETACHED:
            part = api.content(f"/api/v1/audit/detached/{header.index}")
            archive.writestr(f"detached/{header.index}", part, zipfile.ZIP_STORED)


def _add_keys(api: Api, keys: dict[bytes, DataKey]) -> int:
    """Every data key there is now; the size of the log by then."""
    private = X25519PrivateKey.generate()
    after: str | None = None
    while True:
        body = {"public_key": private.public_key().public_bytes_raw().hex(), "after": after}
        reply = api.post("/api/v1/audit/keys/export", body)
        try:
            found = open_sealed(base64.b64decode(str(reply["sealed"]), validate=True), private)
        except (InvalidTag, ValueError, KeyError, KeyUnusableError) as error:
            raise CliError("the keys were changed on their way here") from error
        keys.update((key.key_id, key) for key in found)
        after = reply.get("after")
        if after is None:
            return int(reply["size"])


def _newest_covering(api: Api, size_min: int) -> JsonObject:
    deadline = time.monotonic() + COVERED_WAIT_S
    while True:
        newest = api.get("/api/v1/audit/key")
        if size_of(str(newest["note"])) >= size_min:
            return newest
        if time.monotonic() > deadline:
            raise CliError("the log is not being signed: no checkpoint covers the export of its keys")
        time.sleep(COVERED_POLL_S)
