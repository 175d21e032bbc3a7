"""A receipt as one file: C2SP tlog-proof, with what is needed to check it offline against a pinned key alone.

The format's opaque ``extra`` line carries JSON: the event id, the record whose hash is the leaf, and the handovers
between the log's signing keys. None of it is trusted: each part must fit the signed checkpoint.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Final, cast

from hookbus.audit.note import NoteInvalidError, VerifierKey
from hookbus.audit.record import RecordInvalidError, Stream, event_hash, parse_header
from hookbus.audit.tree import ProofInvalidError, leaf_hash, verify_inclusion
from hookbus.audit.trust import Trust

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"
PROOF_HASHES_MAX: Final = 64
RECEIPT_BYTES_MAX: Final = 512 * 1024

_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})")


class ReceiptInvalidError(Exception):
    """A receipt does not prove what it says; the text says why."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What a receipt proves: the event ``event_id`` lies at ``index``, in every tree from ``size`` on."""

    origin: str
    event_id: str
    index: int
    size: int
    time_us: int


def write_receipt(
    *, event_id: str, record: bytes, index: int, proof: tuple[bytes, ...], checkpoint: str, handovers: tuple[str, ...]
) -> str:
    """The text of a receipt."""
    extra = {"event_id": event_id, "record": base64.b64encode(record).decode(), "handovers": list(handovers)}
    lines = [
        FIRST_LINE,
        "extra " + base64.b64encode(json.dumps(extra, separators=(",", ":")).encode()).decode(),
        f"index {index}",
        *(base64.b64encode(item).decode() for item in proof),
        "",
    ]
    return "\n".join(lines) + "\n" + checkpoint


def check_receipt(text: str, pinned: VerifierKey) -> Proven:
    """Check a receipt with nothing but the log's first public key; the log's name is that of the key.

    Raises:
        ReceiptInvalidError: malformed, doctored, or of a log with another key.
    """
    if len(text) > RECEIPT_BYTES_MAX:
        raise ReceiptInvalidError("the receipt is too large")
    try:
        head, separator, checkpoint_note = text.partition("\n\n")
        lines = head.split("\n")
        if not separator or len(lines) < 3 or lines[0] != FIRST_LINE or not lines[1].startswith("extra "):
            raise ReceiptInvalidError("not a receipt of this log's kind")
        found = _INDEX.fullmatch(lines[2])
        if found is None or len(lines) - 3 > PROOF_HASHES_MAX:
            raise ReceiptInvalidError("the receipt is malformed")
        extra = cast("dict[str, object]", json.loads(base64.b64decode(lines[1][len("extra ") :], validate=True)))
        handovers = [str(note) for note in cast("list[object]", extra["handovers"])]
        event_id = str(extra["event_id"])
        record = base64.b64decode(str(extra["record"]), validate=True)
        proof = [base64.b64decode(line, validate=True) for line in lines[3:]]
        trust = Trust(pinned.name, pinned, handovers)
        checkpoint = trust.open(checkpoint_note).checkpoint
        header = parse_header(record)
        index = int(found[1])
        verify_inclusion(leaf=leaf_hash(record), index=index, size=checkpoint.size, proof=proof, root=checkpoint.root)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise ReceiptInvalidError("the receipt is malformed") from error
    except (NoteInvalidError, ProofInvalidError, RecordInvalidError) as error:
        raise ReceiptInvalidError(str(error)) from error
    if header.index != index:
        raise ReceiptInvalidError("the record was written at another index")
    if all(header.event != event_hash(stream, event_id) for stream in Stream):
        raise ReceiptInvalidError("the record is that of another event")
    return Proven(pinned.name, event_id, index, checkpoint.size, header.time_us)
