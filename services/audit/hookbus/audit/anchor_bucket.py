"""Checkpoints in an S3-compatible bucket: one object each, under keys that grow with the log, none ever replaced.

The bucket's keeper need not be trusted with the log, nor the log's keeper with the bucket: let the credentials given
here be allowed to put objects and to read them, and turn object lock or versioning on.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from hookbus.audit.anchors import AnchorError
from hookbus.audit.note import Checkpoint, NoteInvalidError, SignedNote

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

REQUEST_TIMEOUT_S: Final = 5.0
RETRIES_MAX: Final = 1
"""Of one put. The next checkpoint is offered in a few seconds anyway."""
SIZE_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where the bucket is, and who writes to it. Without a key pair those of the surroundings are used (AWS_...)."""

    url: str
    """``s3://bucket[/prefix]``"""
    endpoint: str | None = None
    """``http(s)://host[:port]`` of a service that is not AWS."""
    region: str = "us-east-1"
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)


class AnchorBucket:
    """Puts each checkpoint it is given, signed with SigV4."""

    def __init__(self, address: BucketAddress) -> None:
        """Raises ImportError where the package for it is not installed (``hookbus-audit[s3]``)."""
        self.name = address.url
        self._store = _store(address)
        self._prefix = urlsplit(address.url).path.strip("/")

    def key(self, checkpoint: Checkpoint) -> str:
        """``[prefix/]<log id>/<size, 20 digits>``."""
        parts = (self._prefix, checkpoint.origin.rpartition("/")[2], f"{checkpoint.size:0{SIZE_DIGITS}d}")
        return "/".join(part for part in parts if part)

    async def add(self, checkpoint: Checkpoint, note: str) -> None:
        """Put a note under its key, if nothing is there.

        Raises:
            AnchorError: the bucket does not take it, or holds another tree of this size: then the log is forked.
        """
        from obstore import get_async, put_async  # noqa: PLC0415 - an optional package
        from obstore.exceptions import AlreadyExistsError, BaseError  # noqa: PLC0415 - as above

        key = self.key(checkpoint)
        try:
            try:
                await put_async(self._store, key, note.encode(), mode="create", use_multipart=False)
            except AlreadyExistsError:
                kept = bytes(await (await get_async(self._store, key)).bytes_async())
                _require_same(checkpoint, kept, key)
        except BaseError as error:
            # The first line alone: what follows may hold the whole answer.
            raise AnchorError(f"the bucket did not take {key}: {str(error).partition(chr(10))[0]}") from error


def _store(address: BucketAddress) -> "S3Store":
    from obstore.store import S3Store  # noqa: PLC0415 - an optional package

    config: S3Config = {"region": address.region}
    if address.endpoint is not None:
        config["endpoint"] = address.endpoint
    if address.access_key_id is not None and address.secret_access_key is not None:
        config["access_key_id"] = address.access_key_id
        config["secret_access_key"] = address.secret_access_key
    return S3Store(
        urlsplit(address.url).netloc,
        config=config,
        client_options={"timeout": timedelta(seconds=REQUEST_TIMEOUT_S), "allow_http": True},
        retry_config={"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
    )


def _require_same(checkpoint: Checkpoint, kept: bytes, key: str) -> None:
    """A heartbeat signs the same text again, which the bucket then has already."""
    try:
        text = SignedNote.parse(kept.decode()).text
    except (ValueError, NoteInvalidError):
        text = ""
    if text != checkpoint.text:
        raise AnchorError(f"the bucket holds another tree under {key}: the log is forked, or others write there")
