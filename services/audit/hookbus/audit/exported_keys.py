"""Data keys that travel with an export: wrapped under a passphrase of the export's own.

They open every event of the log up to the export, and nothing written under a key that was made later. On their way
from the service to whoever exports they are sealed (HPKE, RFC 9180) to a public key made for this one export, so that
neither the bus nor the gateway sees them. An erasure in the log does not reach keys that were exported before it.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Final, cast

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from hookbus.audit.keys import (
    KDF_NAME,
    DataKey,
    KekParameters,
    KeyUnusableError,
    Randomness,
    commitment_of,
    create_kek,
    load_kek,
    unwrap_data_key,
)

_INFO: Final = b"hookbus audit key export v1"


def _suite() -> Suite:
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal_keys(keys: Sequence[DataKey], public_key: bytes) -> bytes:
    """Keys as only the holder of the private key can read them; raises ValueError for what is no public key."""
    plain = [{"key_id": key.key_id.hex(), "period": key.period, "key": key.key.hex()} for key in keys]
    recipient = X25519PublicKey.from_public_bytes(public_key)
    return _suite().encrypt(json.dumps(plain).encode(), recipient, _INFO)


def open_sealed(sealed: bytes, private_key: X25519PrivateKey) -> list[DataKey]:
    """The keys again; raises cryptography's InvalidTag where they were changed on the way."""
    parsed = cast("list[dict[str, str]]", json.loads(_suite().decrypt(sealed, private_key, _INFO)))
    found: list[DataKey] = []
    for item in parsed:
        key_id, key = bytes.fromhex(item["key_id"]), bytes.fromhex(item["key"])
        found.append(DataKey(key_id, "", item["period"], key, commitment_of(key_id, key)))
    return found


def write_keys(keys: Sequence[DataKey], passphrase: bytes, randomness: Randomness) -> bytes:
    """The part of the export; raises KeyUnusableError for a passphrase that is too short."""
    kek, parameters = create_kek(passphrase, randomness)
    return json.dumps(
        {
            "kdf": KDF_NAME,
            "iterations": parameters.iterations,
            "salt": base64.b64encode(parameters.salt).decode(),
            "check": base64.b64encode(parameters.check).decode(),
            "keys": [
                {
                    "key_id": key.key_id.hex(),
                    "period": key.period,
                    "wrapped": kek.wrap(key.key).hex(),
                    "commitment": key.commitment.hex(),
                }
                for key in keys
            ],
        }
    ).encode()


def read_keys(part: bytes, passphrase: bytes) -> Mapping[bytes, DataKey]:
    """Key id -> data key.

    Raises:
        KeyUnusableError: wrong passphrase, weakened parameters, a key that was changed, or no such part at all.
    """
    try:
        parsed = cast("dict[str, object]", json.loads(part))
        parameters = KekParameters(
            base64.b64decode(str(parsed["salt"]), validate=True),
            int(str(parsed["iterations"])),
            base64.b64decode(str(parsed["check"]), validate=True),
        )
        rows = cast("list[dict[str, str]]", parsed["keys"])
        kek = load_kek(passphrase, parameters)
        return {
            bytes.fromhex(row["key_id"]): unwrap_data_key(
                kek,
                key_id=bytes.fromhex(row["key_id"]),
                subject="",
                period=row["period"],
                wrapped=bytes.fromhex(row["wrapped"]),
                commitment=bytes.fromhex(row["commitment"]),
            )
            for row in rows
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KeyUnusableError("the keys of the export are malformed") from error
