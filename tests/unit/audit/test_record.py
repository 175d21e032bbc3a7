"""Records: what is sealed opens under its key and header alone."""

import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from support.vectors import load, vectors_folder

from hookbus.audit.record import (
    HEADER_BYTES,
    INLINE_BYTES_MAX,
    RECORD_BYTES_MAX,
    Algorithm,
    Header,
    RecordInvalidError,
    Stream,
    event_hash,
    from_microseconds,
    open_record,
    parse_header,
    seal,
    to_microseconds,
)

CIPHER = AESGCM(bytes(range(32)))
NONCE = bytes(range(12))


def header(index: int = 5, event_id: str = "e-1") -> Header:
    return Header(b"L" * 16, index, Stream.HOOKS, event_hash(Stream.HOOKS, event_id), 1_700_000_000_000_000, b"K" * 16)


@given(st.binary(max_size=2_000), st.integers(0, 2**63 - 1))
def test_a_record_opens_to_what_was_sealed(plaintext: bytes, index: int):
    sealed = seal(header(index), plaintext, CIPHER, NONCE)
    assert sealed.detached is None
    assert parse_header(sealed.record) == header(index)
    assert open_record(sealed.record, None, CIPHER) == plaintext


@pytest.mark.parametrize("extra", [0, 1])
def test_the_border_between_inline_and_detached(extra: int):
    plaintext = os.urandom(INLINE_BYTES_MAX + extra)
    sealed = seal(header(), plaintext, CIPHER, NONCE)
    assert len(sealed.record) <= RECORD_BYTES_MAX
    assert (sealed.detached is not None) == bool(extra)
    assert parse_header(sealed.record).algorithm == (Algorithm.AES_256_GCM_DETACHED if extra else Algorithm.AES_256_GCM)
    assert open_record(sealed.record, sealed.detached, CIPHER) == plaintext


@given(st.data())
def test_no_bit_of_a_record_can_be_flipped(data: st.DataObject):
    sealed = seal(header(), b"what happened", CIPHER, NONCE)
    changed = bytearray(sealed.record)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(RecordInvalidError):
        open_record(bytes(changed), None, CIPHER)


@given(st.data())
def test_no_bit_of_a_detached_record_can_be_flipped(data: st.DataObject):
    sealed = seal(header(), bytes(INLINE_BYTES_MAX + 10), CIPHER, NONCE)
    assert sealed.detached is not None
    record, detached = bytearray(sealed.record), bytearray(sealed.detached)
    target = data.draw(st.sampled_from([record, detached]))
    target[data.draw(st.integers(0, len(target) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(RecordInvalidError):
        open_record(bytes(record), bytes(detached), CIPHER)


def test_another_key_a_lost_and_a_surplus_part_are_refused():
    sealed = seal(header(), b"x", CIPHER, NONCE)
    large = seal(header(), bytes(INLINE_BYTES_MAX + 1), CIPHER, NONCE)
    for record, detached, cipher in (
        (sealed.record, None, AESGCM(bytes(32))),
        (sealed.record, b"surplus", CIPHER),
        (large.record, None, CIPHER),
        (sealed.record[:HEADER_BYTES], None, CIPHER),
        (b"", None, CIPHER),
    ):
        with pytest.raises(RecordInvalidError):
            open_record(record, detached, cipher)


def test_an_id_means_another_event_in_another_stream():
    assert event_hash(Stream.HOOKS, "a") != event_hash(Stream.SECURITY, "a")


@given(st.integers(0, to_microseconds(from_microseconds(253_402_300_799_999_999))))
def test_times_read_back_to_the_microsecond(count: int):
    assert to_microseconds(from_microseconds(count)) == count


def test_a_time_beyond_the_calendar_is_refused():
    with pytest.raises(RecordInvalidError):
        from_microseconds(2**63)


def test_aes_gcm_vectors():
    passed = 0
    for group in load(vectors_folder("wycheproof/aes_gcm_test.json"))["testGroups"]:
        if (group["keySize"], group["ivSize"], group["tagSize"]) != (256, 96, 128):
            continue
        for case in group["tests"]:
            cipher = AESGCM(bytes.fromhex(case["key"]))
            iv, aad, message = (bytes.fromhex(case[name]) for name in ("iv", "aad", "msg"))
            sealed = bytes.fromhex(case["ct"] + case["tag"])
            if case["result"] == "valid":
                assert cipher.encrypt(iv, message, aad) == sealed
                assert cipher.decrypt(iv, sealed, aad) == message
            else:
                with pytest.raises(InvalidTag):
                    cipher.decrypt(iv, sealed, aad)
            passed += 1
    assert passed > 60
