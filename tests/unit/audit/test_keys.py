"""Keys: the floor holds, a wrong passphrase opens nothing, a wrapped key cannot be swapped."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import pbkdf2_hmac

import pytest
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding
from support.vectors import load, vectors_folder

from hookbus.audit.keys import (
    ITERATIONS,
    KeyEncryptionKey,
    KeyUnusableError,
    blind,
    create_data_key,
    create_kek,
    load_kek,
    period_of,
    subject_of,
    unwrap_data_key,
)
from hookbus.audit.record import Stream

PASSPHRASE = b"correct horse battery staple"
KEK, PARAMETERS = create_kek(PASSPHRASE, os.urandom)


def test_the_key_is_pbkdf2_of_the_passphrase_and_comes_back():
    assert PARAMETERS.iterations == ITERATIONS >= 600_000
    expected = KeyEncryptionKey(pbkdf2_hmac("sha256", PASSPHRASE, PARAMETERS.salt, ITERATIONS, 32))
    assert expected.check == PARAMETERS.check
    assert load_kek(PASSPHRASE, PARAMETERS).unwrap(KEK.wrap(bytes(32))) == bytes(32)


def test_a_wrong_passphrase_opens_nothing():
    with pytest.raises(KeyUnusableError, match="not the one"):
        load_kek(PASSPHRASE + b"!", PARAMETERS)


@pytest.mark.parametrize("iterations", [0, 1, 599_999, 10**9])
def test_weakened_parameters_are_refused_before_they_are_used(iterations: int):
    with pytest.raises(KeyUnusableError, match="iteration count"):
        load_kek(PASSPHRASE, replace(PARAMETERS, iterations=iterations))


def test_a_short_salt_and_a_short_passphrase_are_refused():
    with pytest.raises(KeyUnusableError, match="salt"):
        load_kek(PASSPHRASE, replace(PARAMETERS, salt=b"short"))
    with pytest.raises(KeyUnusableError, match="shorter"):
        create_kek(b"short", os.urandom)


def test_a_wrapped_key_cannot_be_changed_or_put_in_anothers_place():
    key, other = (create_data_key("agent:a", "2026-11", os.urandom) for _ in range(2))
    wrapped = KEK.wrap(key.key)

    def opened(wrapped: bytes, commitment: bytes) -> bytes:
        return unwrap_data_key(
            KEK, key_id=key.key_id, subject=key.subject, period=key.period, wrapped=wrapped, commitment=commitment
        ).key

    assert opened(wrapped, key.commitment) == key.key
    changed = bytearray(wrapped)
    changed[3] ^= 1
    for bad, commitment in (
        (bytes(changed), key.commitment),
        (KEK.wrap(other.key), key.commitment),
        (wrapped, other.commitment),
        (KeyEncryptionKey(bytes(32)).wrap(key.key), key.commitment),
        (KEK.wrap(key.key[:16]), key.commitment),
        (b"", key.commitment),
    ):
        with pytest.raises(KeyUnusableError):
            opened(bad, commitment)


def test_no_key_shows_itself():
    key = create_data_key("agent:a", "2026-11", os.urandom)
    assert key.key.hex() not in repr(key)
    assert repr(key.key) not in repr(key)
    assert "agent" not in repr(key)
    assert repr(KEK) == "KeyEncryptionKey(...)"


def test_the_logs_own_entries_never_share_a_key_with_an_agent():
    assert subject_of(Stream.LOG, "a") == subject_of(Stream.LOG, "b")
    assert subject_of(Stream.HOOKS, "log") != subject_of(Stream.LOG, "")
    assert subject_of(Stream.HOOKS, "a") == subject_of(Stream.SECURITY, "a")


def test_a_period_is_a_month_of_utc():
    assert period_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC)) == "2026-12"


def test_search_tags_tell_fields_values_and_keys_apart():
    key = bytes(32)
    tags = {
        blind(key, "agent", "ab"),
        blind(key, "agenta", "b"),
        blind(key, "session", "ab"),
        blind(b"x", "agent", "ab"),
    }
    assert len(tags) == 4
    assert blind(key, "agent", "ab") in tags


def test_aes_key_wrap_vectors():
    passed = 0
    for group in load(vectors_folder("wycheproof/aes_kwp_test.json"))["testGroups"]:
        for case in group["tests"]:
            key, wrapped, message = (bytes.fromhex(case[name]) for name in ("key", "ct", "msg"))
            if case["result"] == "acceptable":
                continue
            try:
                assert aes_key_unwrap_with_padding(key, wrapped) == message
                opened = True
            except (InvalidUnwrap, ValueError):
                opened = False
            assert opened == (case["result"] == "valid"), case["tcId"]
            passed += 1
    assert passed > 50


def test_pbkdf2_vectors():
    for group in load(vectors_folder("wycheproof/pbkdf2_hmacsha256_test.json"))["testGroups"]:
        for case in group["tests"]:
            if case["iterationCount"] > 10_000:
                continue
            derived = pbkdf2_hmac(
                "sha256",
                bytes.fromhex(case["password"]),
                bytes.fromhex(case["salt"]),
                case["iterationCount"],
                case["dkLen"],
            )
            assert (derived.hex() == case["dk"]) == (case["result"] == "valid")
