"""Checkpoints kept where the log's keeper does not rule: an append-only file, an address that takes them, witnesses.

Whoever rewrites the log, key and all, cannot rewrite these.
"""

import asyncio
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from hookbus.audit.note import (
    TYPE_COSIGNATURE,
    Checkpoint,
    NoteInvalidError,
    SignatureLine,
    VerifierKey,
)
from hookbus.audit.signing.files import append_line
from hookbus.audit.witness.domain import Submission

ANCHOR_MODE: Final = 0o644
"""Anyone may read an anchor: it holds no secret, and the more who keep a copy the better."""
HTTP_TIMEOUT_S: Final = 5.0
REPLY_BYTES_MAX: Final = 64 * 1024
STATUS_OK: Final = 200
STATUS_CONFLICT: Final = 409


class AnchorError(Exception):
    """An anchor did not take a checkpoint; it is offered the next one."""


class AnchorFile:
    """One JSON object a line, ``{"time", "size", "note"}``, only ever added to. Give it a file system of its own, or
    one with an append-only flag."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, checkpoint: Checkpoint, note: str) -> None:
        """Add a checkpoint, synced; raises OSError."""
        line = {"time": datetime.now(UTC).isoformat(), "size": checkpoint.size, "note": note}
        append_line(self.path, json.dumps(line, separators=(",", ":")).encode(), ANCHOR_MODE)

    def notes(self) -> list[str]:
        """Every note, oldest first. What a crash left of a line is left out; raises ValueError for other damage."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        # A line cut short has no end: it is the last one, or, where the file may only grow, the next begins behind it.
        return [str(json.loads(line)["note"]) for line in lines[:-1] if line.endswith(b"}")]


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness's address and public key."""

    url: str
    key: VerifierKey

    @classmethod
    def parse(cls, text: str) -> "Witness":
        """``<url> <verifier key>``; raises ValueError."""
        url, _, key = text.strip().partition(" ")
        if not url.startswith(("http://", "https://")):
            raise ValueError("a witness is '<http address> <verifier key>'")
        try:
            return cls(url.rstrip("/"), VerifierKey.parse(key).as_type(TYPE_COSIGNATURE))
        except NoteInvalidError as error:
            raise ValueError(str(error)) from error


Prove = Callable[[int, int], Awaitable[tuple[bytes, ...]]]
"""The consistency proof between two sizes."""


async def cosign(witness: Witness, checkpoint: Checkpoint, note: str, prove: Prove, old_size: int) -> SignatureLine:
    """Submit a checkpoint to a witness; its cosignature, checked.

    Args:
        witness: where to.
        checkpoint: what ``note`` says.
        note: signed by the log.
        prove: makes the consistency proof.
        old_size: the size the witness is thought to hold; it says so where it is another.

    Raises:
        AnchorError: it does not answer, refuses, or answers what does not hold.
    """
    status, answer = await _submit(witness, checkpoint, note, prove, old_size)
    if status == STATUS_CONFLICT and answer.strip().isdigit() and int(answer) != old_size:
        status, answer = await _submit(witness, checkpoint, note, prove, int(answer))
    if status != STATUS_OK:
        raise AnchorError(f"the witness {witness.key.name} answered {status}")
    return _checked(witness, checkpoint, answer)


async def _submit(witness: Witness, checkpoint: Checkpoint, note: str, prove: Prove, old_size: int) -> tuple[int, str]:
    if old_size > checkpoint.size:
        raise AnchorError(f"the witness {witness.key.name} holds size {old_size}: the log was taken back")
    proof = await prove(old_size, checkpoint.size)
    return await asyncio.to_thread(
        _post, f"{witness.url}/add-checkpoint", Submission(old_size, proof, note).body.encode()
    )


def _checked(witness: Witness, checkpoint: Checkpoint, answer: str) -> SignatureLine:
    try:
        for text in answer.splitlines():
            line = SignatureLine.parse(text)
            if (line.name, line.key_id) == (witness.key.name, witness.key.key_id):
                witness.key.verify(checkpoint.text, line.signature)
                return line
    except NoteInvalidError as error:
        raise AnchorError(f"the witness {witness.key.name}: {error}") from error
    raise AnchorError(f"the witness {witness.key.name} did not sign under its key")


async def send(url: str, note: str) -> None:
    """POST a note to an address that keeps what it is sent; raises AnchorError."""
    status, _ = await asyncio.to_thread(_post, url, note.encode())
    if status >= 300:
        raise AnchorError(f"the anchor answered {status}")


def _post(url: str, body: bytes) -> tuple[int, str]:
    request = urllib.request.Request(url, body, {"Content-Type": "text/plain; charset=utf-8"})  # noqa: S310 - http(s) only, checked where it is set
    try:
        with urllib.request.urlopen(request, timeout=HTTP_TIMEOUT_S) as response:  # noqa: S310 - as above
            return response.status, response.read(REPLY_BYTES_MAX).decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(REPLY_BYTES_MAX).decode(errors="replace")
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise AnchorError(f"no answer: {type(error).__name__}") from error
