"""An export with its data keys: decrypted offline by whoever has its passphrase, and by nobody else."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from support.paper_log import PaperLog, write_bundle

from hookbus.audit import bundle as bundles
from hookbus.audit.bundle import Against, Bundle, Checked, check_bundle
from hookbus.audit.export import KEYS
from hookbus.audit.exported_keys import open_sealed, read_keys, seal_keys
from hookbus.audit.keys import DataKey, KeyUnusableError, create_data_key
from hookbus.audit.record import HEADER_BYTES, NONCE_BYTES
from hookbus.audit.tiles import LogTree
from hookbus.audit.tree import leaf_hash

PASSPHRASE = b"a passphrase for the auditor"


@pytest.fixture
def log(tmp_path: Path) -> PaperLog:
    paper = PaperLog(tmp_path)
    for agent in ("one", "two"):
        paper.append(300, agent)
    paper.append(1, "one", text="x" * 70_000)
    return paper


def checked(
    tmp_path: Path, log: PaperLog, parts: dict[str, bytes], keys: Mapping[bytes, DataKey] | None = None
) -> Checked:
    bundle = Bundle(write_bundle(tmp_path / "export.zip", parts))
    try:
        found = read_keys(bundle.read(KEYS), PASSPHRASE) if keys is None else keys
        return check_bundle(bundle, Against(log.pinned), keys=found)
    finally:
        bundle.close()


def test_a_whole_export_decrypts(log: PaperLog, tmp_path: Path):
    found = checked(tmp_path, log, log.parts(PASSPHRASE))
    assert (found.fault, found.checked) == (None, log.size)


def test_only_the_passphrase_opens_the_keys(log: PaperLog):
    part = log.parts(PASSPHRASE)[KEYS]
    assert {key.key for key in read_keys(part, PASSPHRASE).values()} == {key.key for key in log.keys.values()}
    assert all(key.key.hex().encode() not in part for key in log.keys.values())
    with pytest.raises(KeyUnusableError, match="passphrase"):
        read_keys(part, b"another passphrase")
    parsed = json.loads(part)
    weakened: list[object] = [
        {**parsed, "iterations": 1_000},
        {**parsed, "salt": ""},
        {**parsed, "check": parsed["salt"]},
        {**parsed, "keys": [{**row, "commitment": "00" * 32} for row in parsed["keys"]]},
        {**parsed, "keys": [{**row, "wrapped": "00" * 40} for row in parsed["keys"]]},
        {**parsed, "keys": [{}]},
        {},
        [],
        None,
    ]
    for changed in weakened:
        with pytest.raises(KeyUnusableError):
            read_keys(json.dumps(changed).encode(), PASSPHRASE)


def test_a_key_that_is_not_the_one_the_log_announced_is_found(log: PaperLog, tmp_path: Path):
    """An export whose maker replaced a key, and the entries under it, would have to change the announcement too."""
    keys = {key.key_id: key for key in log.keys.values()}
    parts = log.parts(PASSPHRASE)
    assert checked(tmp_path, log, parts, keys).fault is None
    other = create_data_key("agent:one", "2026-11", os.urandom)
    victim = log.keys["agent:one"]
    swapped = keys | {victim.key_id: DataKey(victim.key_id, "", victim.period, other.key, other.commitment)}
    found = checked(tmp_path, log, parts, swapped)
    assert found.fault is not None
    assert "does not decrypt" in found.fault.text
    # The right key beside a commitment the log never announced.
    swapped = keys | {victim.key_id: DataKey(victim.key_id, "", victim.period, victim.key, other.commitment)}
    found = checked(tmp_path, log, parts, swapped)
    assert found.fault is not None
    assert "not the one the log announced" in found.fault.text


def test_a_key_left_out_without_a_tombstone_is_found(log: PaperLog, tmp_path: Path):
    keys = {key.key_id: key for key in log.keys.values() if key.subject != "agent:two"}
    found = checked(tmp_path, log, log.parts(PASSPHRASE), keys)
    assert found.fault is not None
    assert "without an erasure" in found.fault.text
    first = next(entry.index for entry in log.entries if entry.key_id == log.keys["agent:two"].key_id)
    assert found.fault.index == first


def test_decryption_names_the_entry_that_the_hashes_were_made_to_fit(log: PaperLog, tmp_path: Path):
    """Whoever rewrites the record and every hash above it still cannot make it decrypt."""
    parts = log.parts(PASSPHRASE)
    body = parts["tile/entries/001"]
    record = log.entries[256].record
    changed = bytearray(record)
    changed[HEADER_BYTES + NONCE_BYTES] ^= 1
    parts["tile/entries/001"] = body[:2] + bytes(changed) + body[2 + len(record) :]
    leaves = [leaf_hash(bytes(changed)) if entry.index == 256 else entry.leaf_hash for entry in log.entries]
    _, tiles = LogTree().appended(leaves)
    parts["tile/0/001"] = next(tile.hashes for tile in tiles if (tile.level, tile.number) == (0, 1))
    found = checked(tmp_path, log, parts)
    assert found.fault is not None
    assert (found.fault.index, "does not decrypt" in found.fault.text) == (256, True)


@pytest.mark.parametrize("damage", [None, 300, 601])
def test_several_processes_find_what_one_finds(
    log: PaperLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: int | None
):
    parts = log.parts(PASSPHRASE)
    if damage is not None:
        name = next(name for name in parts if name.startswith(f"tile/entries/00{damage // 256}"))
        body = bytearray(parts[name])
        at = sum(2 + len(entry.record) for entry in log.entries[damage // 256 * 256 : damage])
        body[at + 2 + HEADER_BYTES + NONCE_BYTES] ^= 1
        parts[name] = bytes(body)
    alone = checked(tmp_path, log, parts)
    monkeypatch.setattr(bundles, "PARALLEL_ENTRIES_MIN", 0)
    monkeypatch.setattr(bundles, "STRETCH_ENTRIES", 256)
    together = checked(tmp_path, log, parts)
    for found in (alone, together):
        assert (None if found.fault is None else found.fault.index) == damage
    assert str(alone.fault) == str(together.fault)


def test_keys_on_their_way_are_read_by_their_recipient_alone(log: PaperLog):
    private, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    keys = list(log.keys.values())
    sealed = seal_keys(keys, private.public_key().public_bytes_raw())
    assert [(key.key_id, key.key, key.commitment) for key in open_sealed(sealed, private)] == [
        (key.key_id, key.key, key.commitment) for key in keys
    ]
    assert all(key.key not in sealed and key.key.hex().encode() not in sealed for key in keys)
    with pytest.raises(InvalidTag):
        open_sealed(sealed, other)
    with pytest.raises(InvalidTag):
        open_sealed(sealed[:-1] + bytes([sealed[-1] ^ 1]), private)
    with pytest.raises(ValueError, match="32 bytes"):
        seal_keys(keys, b"short")
