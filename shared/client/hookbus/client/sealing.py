"""Waiting events under a key: AES-256-GCM, a random nonce for each record.

The key lies in a file of its own (64 hex digits, readable by its owner alone). Who copies the spool's folder without it
reads no event; it hides neither how many there are nor how long, and a whole record may still be removed unseen.
``cryptography`` is imported when a record is sealed or opened: a hook that reaches the gateway pays nothing.
"""

from __future__ import annotations

import binascii
import os
import stat
import sys

from hookbus.client.identity import digest
from hookbus.client.spool_files import OtherKeyError, SpoolError, write_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
KEY_FILE_BYTES_MAX = 1024
KEY_FILE_MODE = 0o600
NONCE_BYTES = 12
TAG_BYTES = 16
KEY_ID_CHARS = 8
_CONTEXT = b"hookbus spool 2 "


class Sealer:
    """Seals and opens records with one key."""

    def __init__(self, key: bytes) -> None:
        self.key_id = digest(_CONTEXT + key)[:KEY_ID_CHARS]
        """Names the key without telling anything of it."""
        if sys.flags.no_site and "site" not in sys.modules:
            # The hookbus command starts a hook without it.
            import site

            site.main()
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise SpoolError(
                "a spool key is configured and the cryptography package is not installed: "
                "pip install 'hookbus-client[encryption]', or unset HOOKBUS_SPOOL_KEY_FILE"
            ) from None
        self._cipher: AESGCM = AESGCM(key)

    def seal(self, content: bytes) -> bytes:
        """The body of a sealed record: the key's id, a space, base64 of nonce, ciphertext and tag."""
        head = self.key_id.encode()
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, content, _CONTEXT + head)
        return head + b" " + binascii.b2a_base64(sealed, newline=False)

    def open(self, body: bytes) -> bytes | None:
        """The content of a sealed record, None where it was changed. Raises :class:`OtherKeyError`."""
        head, _, text = body.partition(b" ")
        name = key_id_of(body)
        if name is None:
            return None
        if name != self.key_id:
            raise OtherKeyError(name)
        from cryptography.exceptions import InvalidTag

        try:
            sealed = binascii.a2b_base64(text, strict_mode=True)
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], _CONTEXT + head)
        except (InvalidTag, ValueError):
            return None


def key_id_of(body: bytes) -> str | None:
    """The key that a sealed record names, None where it is none."""
    head = body.partition(b" ")[0]
    legal = len(head) == KEY_ID_CHARS and not head.strip(b"0123456789abcdef")
    return head.decode("ascii") if legal else None


def load(path: str) -> Sealer:
    """The sealer of a key file. Raises SpoolError, which never repeats what the file holds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SpoolError(f"the spool key {path} cannot be read: {error.strerror}") from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise SpoolError(f"the spool key {path} is not a file")
        if state.st_mode & 0o077:
            raise SpoolError(f"the spool key {path} may be read by others: run chmod 600 on it")
        text = os.read(descriptor, KEY_FILE_BYTES_MAX).strip()
    except OSError as error:
        raise SpoolError(f"the spool key {path} cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(text) != 2 * KEY_BYTES or text.strip(b"0123456789abcdefABCDEF"):
        raise SpoolError(f"the spool key {path} is not {2 * KEY_BYTES} hex digits: hookbus spool new-key makes one")
    return Sealer(binascii.unhexlify(text))


def new_key_file(path: str) -> None:
    """Write a new random key into a new file. Raises SpoolError where the file exists or cannot be made."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_FILE_MODE)
        try:
            write_all(descriptor, os.urandom(KEY_BYTES).hex().encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SpoolError(f"{path} cannot be made: {error.strerror}") from None
