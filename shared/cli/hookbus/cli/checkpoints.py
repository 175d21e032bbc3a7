"""The text of a checkpoint, without its signatures: enough to show a log's size."""

import base64
import binascii
import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Checkpoint:
    """The first three lines of a C2SP tlog-checkpoint."""

    origin: str
    size: int
    root: bytes


def parse_checkpoint(note: str) -> Checkpoint:
    """Origin, size and root hash of a checkpoint.

    Raises:
        ValueError: the text is no checkpoint.
    """
    lines = note.split("\n")
    if len(lines) < 3 or not lines[0] or not lines[1].isdigit():
        raise ValueError("the text is no checkpoint")
    try:
        root = base64.b64decode(lines[2], validate=True)
    except binascii.Error as error:
        raise ValueError("the checkpoint's root hash is not base64") from error
    if len(root) != hashlib.sha256().digest_size:
        raise ValueError("the checkpoint's root hash is not 32 bytes")
    return Checkpoint(lines[0], int(lines[1]), root)
