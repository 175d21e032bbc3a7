"""Which witnesses have cosigned checkpoints of a log, and how far."""

from collections.abc import Sequence

from hookbus.audit.export import Published
from hookbus.audit.inspection import FaultError
from hookbus.audit.note import NoteInvalidError, SignedNote, VerifierKey


class Cosigned:
    """How far each witness has cosigned, from notes as they pass."""

    def __init__(self, witnesses: Sequence[VerifierKey]) -> None:
        self._witnesses = witnesses
        self.sizes: dict[str, int] = {}
        """The size of the newest checkpoint each has cosigned, by its name."""

    def read(self, published: Published) -> None:
        """Raises FaultError where a witness's name stands under what it did not cosign."""
        if not self._witnesses:
            return
        signed = SignedNote.parse(published.note)
        signers = {(line.name, line.key_id) for line in signed.signatures}
        for witness in self._witnesses:
            if (witness.name, witness.key_id) not in signers:
                continue
            try:
                signed.verified_by([witness])
            except NoteInvalidError as error:
                words = f"a cosignature of the checkpoint of size {published.size} is forged: {error}"
                raise FaultError(None, words) from error
            self.sizes[witness.name] = max(self.sizes.get(witness.name, 0), published.size)

    def require_all(self) -> None:
        """Raises FaultError for a witness that has cosigned none."""
        for witness in self._witnesses:
            if witness.name not in self.sizes:
                raise FaultError(None, f"no checkpoint is cosigned by the witness {witness.name}")
