"""Where the passphrase of the log comes from: a file, and beside it, during a rotation, the next one."""

from pathlib import Path
from typing import Final, Protocol

from hookbus.audit.keys import KekParameters, KeyEncryptionKey, KeyUnusableError, Randomness, load_kek
from hookbus.audit.signing.files import KeyFileError, destroy, read_private, write_private

RANDOM_BYTES: Final = 32
NEXT_SUFFIX: Final = ".next"


def random_passphrase(randomness: Randomness) -> bytes:
    """A passphrase nobody chose, as it lies in its file."""
    return randomness(RANDOM_BYTES).hex().encode() + b"\n"


class Passphrases(Protocol):
    """The passphrase in use and the one to come."""

    def current(self) -> bytes:
        """The passphrase of a new log."""
        ...

    def load(self, parameters: KekParameters) -> KeyEncryptionKey:
        """The key-encryption key that was made with ``parameters``; KeyUnusableError where no passphrase fits."""
        ...

    def next(self) -> bytes:
        """The passphrase to rotate to."""
        ...

    def adopt_next(self) -> None:
        """The rotation is committed: the next passphrase is the current one."""
        ...


class PassphraseFile:
    """A file of mode 0600. An operator who wants to choose the next passphrase puts it into ``<file>.next``."""

    def __init__(self, path: Path, randomness: Randomness) -> None:
        self._path = path
        self._next = path.with_name(path.name + NEXT_SUFFIX)
        self._randomness = randomness

    def current(self) -> bytes:
        """Raises KeyFileError where the file is absent or others may read it."""
        return read_private(self._path).rstrip(b"\r\n")

    def load(self, parameters: KekParameters) -> KeyEncryptionKey:
        """Tries the next passphrase as well: a crash may have come between a rotation's commit and its file."""
        try:
            return load_kek(self.current(), parameters)
        except (KeyUnusableError, KeyFileError):
            if not self._next.exists():
                raise
        kek = load_kek(read_private(self._next).rstrip(b"\r\n"), parameters)
        self.adopt_next()
        return kek

    def next(self) -> bytes:
        """Made at random where no one has put it there."""
        if not self._next.exists():
            write_private(self._next, random_passphrase(self._randomness))
        return read_private(self._next).rstrip(b"\r\n")

    def adopt_next(self) -> None:
        """Put it in place of the old one, which is overwritten."""
        body = read_private(self._next)
        if self._path.exists():
            destroy(self._path)
        write_private(self._path, body)
        destroy(self._next)
