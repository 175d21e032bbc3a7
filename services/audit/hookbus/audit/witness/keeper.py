"""What a witness keeps: its key, the logs it watches, the newest note of each; compared and stored as one step."""

import fcntl
import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hookbus.audit.note import TYPE_COSIGNATURE, Checkpoint, SignedNote, VerifierKey, sign_text
from hookbus.audit.signing.files import SECRET_MODE, create_key_file, load_key_file, read_private, write_private
from hookbus.audit.witness.domain import RefusedError, Submission, open_submission, require_continuation

KEY_NAME: Final = "witness.pem"
LOCK_NAME: Final = "lock"
FORKS_SUFFIX: Final = ".fork"


class Keeper:
    """One witness on one folder. Several processes may share the folder."""

    def __init__(self, folder: Path, name: str, logs: Sequence[VerifierKey]) -> None:
        """``logs``: public keys of the logs to watch; a log's name is that of its key."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key_file = folder / KEY_NAME
        if not key_file.exists():
            create_key_file(key_file)
        self._folder = folder
        self._key = load_key_file(key_file)
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier_key = VerifierKey(name, public, TYPE_COSIGNATURE)
        self._logs: dict[str, tuple[VerifierKey, ...]] = {}
        for log in logs:
            self._logs[log.name] = (*self._logs.get(log.name, ()), log)

    def add_checkpoint(self, body: str, now_s: int) -> str:
        """The cosignature line of a submission; raises RefusedError."""
        submission = Submission.parse(body)
        checkpoint = open_submission(submission, self._logs)
        state_file = self._folder / hashlib.sha256(checkpoint.origin.encode()).hexdigest()
        with self._locked():
            last = _last(state_file)
            try:
                require_continuation(submission, checkpoint, last)
            except RefusedError:
                if last is not None and last.size == checkpoint.size and last.root != checkpoint.root:
                    # Both notes bear the log's signature: together they prove that it told two stories.
                    write_private(
                        state_file.with_suffix(FORKS_SUFFIX),
                        read_private(state_file) + b"\n" + submission.note.encode(),
                    )
                raise
            # Kept before it is answered: what was cosigned must never be forgotten.
            write_private(state_file, submission.note.encode())
        text = SignedNote.parse(submission.note).text
        return sign_text(text, self.verifier_key, self._key, now_s).text

    def last(self, origin: str) -> Checkpoint | None:
        """The newest checkpoint cosigned for a log."""
        return _last(self._folder / hashlib.sha256(origin.encode()).hexdigest())

    @contextmanager
    def _locked(self) -> Generator[None]:
        descriptor = os.open(self._folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, SECRET_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _last(state_file: Path) -> Checkpoint | None:
    if not state_file.exists():
        return None
    return Checkpoint.parse(SignedNote.parse(read_private(state_file).decode()).text)
