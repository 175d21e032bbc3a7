"""What a witness decides, without storage or HTTP. Source: C2SP tlog-witness and tlog-cosignature."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from hookbus.audit.note import Checkpoint, NoteInvalidError, SignedNote, VerifierKey
from hookbus.audit.tree import HASH_BYTES, ProofInvalidError, verify_consistency

PROOF_LINES_MAX: Final = 63
REQUEST_BYTES_MAX: Final = 128 * 1024
SIZE_MEDIA_TYPE: Final = "text/x.tlog.size"

_OLD_LINE: Final = re.compile(r"old (0|[1-9][0-9]{0,18})")


class RefusedError(Exception):
    """A submission is refused with an HTTP ``status``; ``size`` is the one the witness holds, for a 409 about it."""

    def __init__(self, status: int, text: str, size: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.size = size


@dataclass(frozen=True, slots=True)
class Submission:
    """The body of ``add-checkpoint``."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str

    @property
    def body(self) -> str:
        """The request's text."""
        lines = [f"old {self.old_size}", *(base64.b64encode(item).decode() for item in self.proof)]
        return "\n".join(lines) + "\n\n" + self.note

    @classmethod
    def parse(cls, body: str) -> "Submission":
        """Raises RefusedError (400) for a malformed body."""
        head, separator, note = body.partition("\n\n")
        lines = head.split("\n")
        match = _OLD_LINE.fullmatch(lines[0])
        if not separator or match is None or len(lines) - 1 > PROOF_LINES_MAX:
            raise RefusedError(400, "the request is malformed")
        try:
            proof = tuple(base64.b64decode(line, validate=True) for line in lines[1:])
        except binascii.Error as error:
            raise RefusedError(400, "a proof line is not base64") from error
        if any(len(item) != HASH_BYTES for item in proof):
            raise RefusedError(400, "a proof line is not a hash")
        return cls(int(match[1]), proof, note)


def open_submission(submission: Submission, logs: dict[str, tuple[VerifierKey, ...]]) -> Checkpoint:
    """The checkpoint of a submission, signed by a log this witness watches; 404, 403 or 400 otherwise."""
    try:
        signed = SignedNote.parse(submission.note)
        checkpoint = Checkpoint.parse(signed.text)
    except NoteInvalidError as error:
        raise RefusedError(400, str(error)) from error
    keys = logs.get(checkpoint.origin)
    if keys is None:
        raise RefusedError(404, "this witness does not watch that log")
    try:
        signed.verified_by(keys)
    except NoteInvalidError as error:
        raise RefusedError(403, str(error)) from error
    if submission.old_size > checkpoint.size:
        raise RefusedError(400, "the old size is larger than the checkpoint's")
    return checkpoint


def require_continuation(submission: Submission, checkpoint: Checkpoint, last: Checkpoint | None) -> None:
    """Check that a checkpoint continues the last one cosigned; 409 or 422 otherwise."""
    known = 0 if last is None else last.size
    if submission.old_size != known:
        raise RefusedError(409, f"the last size cosigned is {known}", known)
    if last is None or last.size == 0:
        if submission.proof:
            raise RefusedError(422, "from size 0 the proof is empty")
        return
    if last.size == checkpoint.size and last.root != checkpoint.root:
        raise RefusedError(409, "two different trees of one size: the log is forked", known)
    try:
        verify_consistency(
            from_size=last.size,
            to_size=checkpoint.size,
            from_root=last.root,
            to_root=checkpoint.root,
            proof=submission.proof,
        )
    except ProofInvalidError as error:
        raise RefusedError(422, str(error)) from error
