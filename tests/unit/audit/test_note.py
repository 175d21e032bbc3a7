"""Signed notes and checkpoints: what is signed opens, what was touched does not."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.vectors import load, vectors_folder

from hookbus.audit.note import (
    TYPE_COSIGNATURE,
    Checkpoint,
    NoteInvalidError,
    SignatureLine,
    SignedNote,
    VerifierKey,
    open_checkpoint,
    sign_text,
)

ORIGIN = "log.example/one"
CHECKPOINT = Checkpoint(ORIGIN, 7, bytes(range(32)))


def new_key(name: str = ORIGIN) -> tuple[Ed25519PrivateKey, VerifierKey]:
    private = Ed25519PrivateKey.generate()
    return private, VerifierKey(name, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))


PRIVATE, PUBLIC = new_key()


def note_of(checkpoint: Checkpoint = CHECKPOINT, timestamp: int = 1_700_000_000) -> str:
    return str(
        SignedNote(
            checkpoint.text,
            (
                sign_text(checkpoint.text, PUBLIC, PRIVATE),
                sign_text(checkpoint.text, PUBLIC.as_type(TYPE_COSIGNATURE), PRIVATE, timestamp),
            ),
        )
    )


def test_a_signed_checkpoint_opens_with_its_time():
    opened = open_checkpoint(note_of(), ORIGIN, [PUBLIC])
    assert opened.checkpoint == CHECKPOINT
    assert opened.timestamps == {ORIGIN: 1_700_000_000}


def test_the_example_of_the_specification_has_the_key_id_it_states():
    # C2SP signed-note: the key id is the first four bytes of SHA-256(name, newline, type, key).
    note = SignedNote.parse(
        "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
        "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihA"
        "QwaqP3ZekRwNtIc=\n"
    )
    assert note.text.endswith("ed è subito sera.\n")
    assert note.signatures[0].name == "quasimodo.example/salvatore"
    assert note.signatures[0].key_id.hex() == "367ba04b"
    assert len(note.signatures[0].signature) == 64


def test_a_verifier_key_reads_back_and_a_changed_one_does_not():
    assert VerifierKey.parse(PUBLIC.text) == PUBLIC
    _, other = new_key()
    for text in ("", "a+b", PUBLIC.text[:-4], other.text.replace(other.key_id.hex(), PUBLIC.key_id.hex())):
        with pytest.raises(NoteInvalidError):
            VerifierKey.parse(text)


@pytest.mark.parametrize("line", range(6))
def test_no_line_of_a_checkpoint_can_be_touched(line: int):
    lines = note_of().split("\n")
    for changed in (lines[line] + "A", lines[line][:-1], ""):
        doctored = list(lines)
        doctored[line] = changed
        if doctored == lines:
            continue
        with pytest.raises(NoteInvalidError):
            open_checkpoint("\n".join(doctored), ORIGIN, [PUBLIC])


def test_another_log_another_key_and_no_signature_are_refused():
    _, stranger = new_key()
    elsewhere = Checkpoint("log.example/two", 7, bytes(32))
    with pytest.raises(NoteInvalidError, match="no trusted key"):
        open_checkpoint(note_of(), ORIGIN, [stranger])
    with pytest.raises(NoteInvalidError, match="another log"):
        open_checkpoint(note_of(elsewhere), ORIGIN, [PUBLIC])
    with pytest.raises(NoteInvalidError):
        open_checkpoint(CHECKPOINT.text + "\n", ORIGIN, [PUBLIC])


def test_a_cosignature_alone_is_not_the_logs_signature():
    timed = sign_text(CHECKPOINT.text, PUBLIC.as_type(TYPE_COSIGNATURE), PRIVATE, 5)
    with pytest.raises(NoteInvalidError, match="has not signed"):
        open_checkpoint(str(SignedNote(CHECKPOINT.text, (timed,))), ORIGIN, [PUBLIC])


def test_the_time_of_a_cosignature_cannot_be_moved():
    timed = sign_text(CHECKPOINT.text, PUBLIC.as_type(TYPE_COSIGNATURE), PRIVATE, 5)
    moved = SignatureLine(timed.name, timed.key_id, (6).to_bytes(8) + timed.signature[8:])
    plain = sign_text(CHECKPOINT.text, PUBLIC, PRIVATE)
    with pytest.raises(NoteInvalidError, match="does not hold"):
        open_checkpoint(str(SignedNote(CHECKPOINT.text, (plain, moved))), ORIGIN, [PUBLIC])


def test_signatures_of_strangers_are_ignored():
    stranger_private, stranger = new_key("witness.example")
    note = SignedNote.parse(note_of()).with_signatures([sign_text("something else\n", stranger, stranger_private)])
    assert open_checkpoint(str(note), ORIGIN, [PUBLIC]).checkpoint == CHECKPOINT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "a\n1\n",
        f"{ORIGIN}\n01\n{'A' * 43}=\n",
        f"{ORIGIN}\n-1\n{'A' * 43}=\n",
        f"{ORIGIN}\n9999999999999999999\n{'A' * 43}=\n",
        f"{ORIGIN}\n1\nAAAA\n",
        f"{ORIGIN}\n1\n!!!!\n",
        f"{ORIGIN}\n1\n{'A' * 43}=",
        f"\n1\n{'A' * 43}=\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str):
    with pytest.raises(NoteInvalidError):
        Checkpoint.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b"])
def test_a_key_name_that_would_break_the_format_is_refused(name: str):
    with pytest.raises(ValueError, match="key name"):
        VerifierKey(name, bytes(32))


def test_ed25519_vectors():
    passed = 0
    for group in load(vectors_folder("wycheproof/ed25519_test.json"))["testGroups"]:
        key = VerifierKey("v", bytes.fromhex(group["publicKey"]["pk"]))
        for case in group["tests"]:
            message = bytes.fromhex(case["msg"])
            try:
                text = message.decode()
            except UnicodeDecodeError:
                continue
            try:
                key.verify(text, bytes.fromhex(case["sig"]))
                held = True
            except NoteInvalidError:
                held = False
            assert held == (case["result"] == "valid"), case["tcId"]
            passed += 1
    assert passed > 50
