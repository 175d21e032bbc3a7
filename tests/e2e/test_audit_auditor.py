"""An auditor with a key of their own: the live log recomputed here, a bundle decrypted offline, a fork proven."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support.events import unique
from support.stack import StackFixture

from hookbus.audit.forks import check_fork
from hookbus.audit.note import Checkpoint, SignedNote, VerifierKey, sign_text
from hookbus.audit.signing.files import load_key_file

COMMAND = str(Path(sys.executable).parent / "hookbus")
TIMEOUT_S = 90
PASSPHRASE = "an auditor's long passphrase"


def hookbus(stack: StackFixture, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        env={**stack.environment, **settings},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def answer(stack: StackFixture, *arguments: str) -> Any:
    done = hookbus(stack, *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def key(stack: StackFixture, tmp_path: Path) -> str:
    """The log's public key, in a file of the auditor's; the log holds something."""
    for _ in range(3):
        assert hookbus(stack, "emit", "prompt", "--agent", unique("agent"), "--session", "s").returncode == 0
    file = tmp_path / "log.vkey"
    file.write_text(answer(stack, "audit", "key")["verifier_key"])
    return str(file)


def test_the_live_log_is_checked_on_this_machine(stack: StackFixture, key: str) -> None:
    sizes: list[int] = []
    for depth in ("checkpoints", "leaves", "all"):
        found = answer(stack, "audit", "verify", "--key", key, "--depth", depth)
        assert found["ok"]
        sizes.append(found["size"])
    assert sizes == sorted(sizes)
    assert sizes[0] > 0
    done = hookbus(stack, "audit", "verify", "--depth", "checkpoints")
    assert (done.returncode, "verified" in done.stdout) == (0, True)


def test_a_strangers_key_and_a_witness_nobody_asked_are_refused(stack: StackFixture, key: str) -> None:
    whole = Path(key).read_text()
    stranger = VerifierKey(VerifierKey.parse(whole).name, bytes(31) + b"\x01").text
    done = hookbus(stack, "audit", "verify", "--key", stranger, "--depth", "checkpoints", "--json")
    assert done.returncode == 1
    assert "no trusted key" in json.loads(done.stdout)["fault"]
    done = hookbus(stack, "audit", "verify", "--key", key, "--witness", stranger, "--depth", "checkpoints", "--json")
    assert done.returncode == 1
    assert "no checkpoint is cosigned" in json.loads(done.stdout)["fault"]
    assert hookbus(stack, "audit", "verify", "--witness", stranger).returncode == 2
    assert hookbus(stack, "audit", "verify", "--key", key, "--anchor", "/nowhere").returncode == 2
    assert hookbus(stack, "audit", "verify", "--key", key, HOOKBUS_URL="http://127.0.0.1:9").returncode == 3


def test_a_bundle_with_keys_is_decrypted_offline_by_its_passphrase_alone(
    stack: StackFixture, key: str, tmp_path: Path
) -> None:
    passphrase, wrong = tmp_path / "passphrase", tmp_path / "wrong"
    passphrase.write_text(PASSPHRASE + "\n")
    wrong.write_text("another long passphrase\n")
    bundle = str(tmp_path / "log.zip")
    size = answer(
        stack, "audit", "export", "--bundle", "--with-keys", "--passphrase-file", str(passphrase), "-o", bundle
    )["entries"]
    assert Path(bundle).stat().st_mode & 0o777 == 0o600
    away = {"HOOKBUS_URL": "http://127.0.0.1:9"}
    for arguments, code in (
        (("--passphrase-file", str(passphrase)), 0),
        (("--passphrase-file", str(wrong)), 1),
        (("--passphrase-file", str(tmp_path / "absent")), 2),
        (("--depth", "leaves"), 0),
    ):
        done = hookbus(stack, "audit", "verify", bundle, "--key", key, *arguments, "--json", **away)
        assert done.returncode == code, done.stdout + done.stderr
        if code == 0:
            found = json.loads(done.stdout)
            assert (found["checked"], found["decrypted"]) == (size, "--passphrase-file" in arguments)
    # That the keys were let out stands in the log.
    assert "keys_exported" in hookbus(stack, "audit", "search", "--kind", "audit.keys_exported", "--json").stdout
    # Without keys in it there is nothing to decrypt with.
    plain = str(tmp_path / "plain.zip")
    answer(stack, "audit", "export", "--bundle", "-o", plain)
    done = hookbus(stack, "audit", "verify", plain, "--key", key, "--passphrase-file", str(passphrase))
    assert done.returncode == 2


def test_keys_are_let_out_to_an_administrator_alone(stack: StackFixture, tmp_path: Path) -> None:
    made = answer(stack, "key", "create", unique("auditor"), "--scope", "audit")
    passphrase = tmp_path / "passphrase"
    passphrase.write_text(PASSPHRASE)
    arguments = ("audit", "export", "--bundle", "--passphrase-file", str(passphrase), "-o", str(tmp_path / "x.zip"))
    refused = hookbus(stack, *arguments, "--with-keys", HOOKBUS_API_KEY=made["api_key"])
    assert refused.returncode == 1
    assert "403" in refused.stderr
    assert hookbus(stack, *arguments).returncode == 2
    passphrase.write_text("short")
    assert hookbus(stack, *arguments, "--with-keys").returncode == 2


def test_a_fork_is_proven_to_a_file_that_convinces_by_itself(stack: StackFixture, key: str, tmp_path: Path) -> None:
    """An anchor holds a note the log's own key signed for another history: here made with the signer's stolen key."""
    pinned = VerifierKey.parse(Path(key).read_text())
    size = answer(stack, "audit", "checkpoint")["size"] - 1
    private = load_key_file(stack.layout.audit_signing_key_file)
    text = Checkpoint(pinned.name, size, bytes(32)).text
    # The key of today, should another test have handed over.
    current = VerifierKey(pinned.name, private.public_key().public_bytes_raw())
    forged = str(SignedNote(text, (sign_text(text, current, private),)))
    anchor, proof = tmp_path / "anchor.jsonl", tmp_path / "fork.json"
    anchor.write_text(json.dumps({"size": size, "note": forged}) + "\n")
    arguments = ("audit", "verify", "--key", key, "--anchor", str(anchor), "--fork-proof", str(proof), "--json")
    done = hookbus(stack, *arguments, "--depth", "leaves")
    assert done.returncode == 1
    assert json.loads(done.stdout)["fork_proof"] == str(proof)
    assert check_fork(proof.read_text(), pinned).earlier.size == size
    shown = hookbus(stack, "audit", "verify", str(proof), "--key", key, HOOKBUS_URL="http://127.0.0.1:9")
    assert (shown.returncode, "two histories" in shown.stdout) == (0, True)
    proof.write_text(proof.read_text().replace('"root": "', '"root": "00', 1))
    assert hookbus(stack, "audit", "verify", str(proof), "--key", key).returncode == 1
    # The control: the same anchor with a note of the log's one history.
    honest = answer(stack, "audit", "checkpoint")["note"]
    anchor.write_text(json.dumps({"size": size, "note": honest}) + "\n")
    assert answer(stack, *arguments[:-1], "--depth", "leaves")["ok"]


def test_a_doctored_bundle_is_named(stack: StackFixture, key: str, tmp_path: Path) -> None:
    whole, doctored = tmp_path / "whole.zip", tmp_path / "doctored.zip"
    answer(stack, "audit", "export", "--bundle", "-o", str(whole))
    assert answer(stack, "audit", "verify", str(whole), "--key", key)["ok"]
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(doctored, "w") as target:
        for name in source.namelist():
            body = source.read(name)
            if name.startswith("tile/entries/000"):
                body = body[:100] + bytes([body[100] ^ 1]) + body[101:]
            target.writestr(name, body)
    done = hookbus(stack, "audit", "verify", str(doctored), "--key", key)
    assert (done.returncode, "index 0" in done.stdout) == (1, True)
