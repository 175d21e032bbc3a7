"""Where the key-encryption key comes from: a passphrase in a file, or a key file; beside each, while it is rotated, the
next one.

Which of the two is in use stands with the wrapped keys. Neither is ever guessed: a log that was written with one does
not open with the other.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from hookbus.audit.keys import (
    KDF_FILE,
    KEY_BYTES,
    KekParameters,
    KeyEncryptionKey,
    KeyUnusableError,
    Randomness,
    create_kek,
    file_kek,
    load_file_kek,
    load_kek,
)
from hookbus.audit.signing.files import KeyFileError, destroy, read_private, replace_private, write_private

RANDOM_BYTES: Final = 32
NEXT_SUFFIX: Final = ".next"
ADOPT_ATTEMPTS_MAX: Final = 3
"""Another process of the same log may put the next secret in place while this one reads."""


class KekKind(StrEnum):
    """What a key-encryption key is made of."""

    PASSPHRASE = "passphrase"  # noqa: S105 - the name of a kind
    KEY_FILE = "key-file"


def random_passphrase(randomness: Randomness) -> bytes:
    """A passphrase nobody chose, as it lies in its file."""
    return randomness(RANDOM_BYTES).hex().encode() + b"\n"


@dataclass(frozen=True, slots=True)
class NextKek:
    """A key-encryption key to rotate to. Call ``adopt`` once every key is wrapped under it."""

    kek: KeyEncryptionKey
    parameters: KekParameters
    adopt: Callable[[], None]


class SecretFile:
    """A file of mode 0600. An operator who wants to choose the next secret puts it into ``<file>.next``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next = path.with_name(path.name + NEXT_SUFFIX)

    def adopt_next(self) -> None:
        """Put the next secret in place of this one, which is overwritten. Nothing happens where there is no next, or
        where another process has put it in place already."""
        try:
            body = read_private(self.next)
        except KeyFileError:
            if self.next.exists():
                raise
            return
        if _is_void(body):
            return
        replace_private(self.path, body)
        with suppress(FileNotFoundError):
            destroy(self.next)


class KekFiles:
    """The passphrase file and the key file of one service. Reading either blocks, a derivation for a tenth of a
    second."""

    def __init__(self, passphrase: Path, key: Path | None, randomness: Randomness) -> None:
        self._passphrase = SecretFile(passphrase)
        self._key = None if key is None else SecretFile(key)
        self._randomness = randomness

    def create(self) -> tuple[KeyEncryptionKey, KekParameters]:
        """The key-encryption key of a new log: from the key file where one is set, else from the passphrase.

        Raises:
            KeyFileError: the file is absent, or others may read it.
            KeyUnusableError: it does not hold what it should.
        """
        kind = KekKind.PASSPHRASE if self._key is None else KekKind.KEY_FILE
        return self._made(kind, self._file(kind).path)

    def load(self, parameters: KekParameters) -> KeyEncryptionKey:
        """The key-encryption key that was made with ``parameters``. Raises as :meth:`create`.

        Tries the next secret as well: a crash may have come between a rotation's commit and its file.
        """
        kind = kind_of(parameters)
        file = self._file(kind)
        for _ in range(ADOPT_ATTEMPTS_MAX):
            try:
                return self._loaded(kind, file.path, parameters)
            except (KeyUnusableError, KeyFileError):
                if not file.next.exists():
                    continue
            try:
                kek = self._loaded(kind, file.next, parameters)
            except KeyFileError:
                continue
            file.adopt_next()
            return kek
        return self._loaded(kind, file.path, parameters)

    def next(self, parameters: KekParameters, to: KekKind | None) -> NextKek:
        """What to rotate to, of the kind in use or of the kind ``to``. Made at random where no one has put it there."""
        now = kind_of(parameters)
        kind = now if to is None else to
        file = self._file(kind)
        path = file.next if kind is now else file.path
        if not path.exists() or _is_void(read_private(path)):
            fresh = random_passphrase(self._randomness) if kind is KekKind.PASSPHRASE else self._randomness(KEY_BYTES)
            write_private(path, fresh)
        kek, made = self._made(kind, path)
        if kind is now:
            return NextKek(kek, made, file.adopt_next)
        old = self._file(now).path

        def drop_old() -> None:
            if old.exists():
                destroy(old)

        return NextKek(kek, made, drop_old)

    def _file(self, kind: KekKind) -> SecretFile:
        if kind is KekKind.PASSPHRASE:
            return self._passphrase
        if self._key is None:
            raise KeyUnusableError("no key file is set: name it in HOOKBUS_AUDIT_KEK_FILE")
        return self._key

    def _made(self, kind: KekKind, path: Path) -> tuple[KeyEncryptionKey, KekParameters]:
        if kind is KekKind.PASSPHRASE:
            return create_kek(_passphrase_in(path), self._randomness)
        return file_kek(_key_in(path))

    def _loaded(self, kind: KekKind, path: Path, parameters: KekParameters) -> KeyEncryptionKey:
        if kind is KekKind.PASSPHRASE:
            return load_kek(_passphrase_in(path), parameters)
        return load_file_kek(_key_in(path), parameters)


def kind_of(parameters: KekParameters) -> KekKind:
    """The kind that was used. Parameters that name something else are refused where they are used."""
    return KekKind.KEY_FILE if parameters.kdf == KDF_FILE else KekKind.PASSPHRASE


def _passphrase_in(path: Path) -> bytes:
    return _secret_in(path).rstrip(b"\r\n")


def _key_in(path: Path) -> bytes:
    key = _secret_in(path)
    if len(key) != KEY_BYTES:
        raise KeyUnusableError(f"{path}: a key file holds exactly {KEY_BYTES} bytes, this one {len(key)}")
    return key


def _secret_in(path: Path) -> bytes:
    secret = read_private(path)
    if _is_void(secret):
        raise KeyUnusableError(f"{path}: nothing but zeros: what it held was destroyed")
    return secret


def _is_void(secret: bytes) -> bool:
    """Whether this is what is left of a secret that was overwritten."""
    return len(secret) > 0 and not any(secret)
