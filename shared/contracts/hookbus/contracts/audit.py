"""Requests and replies of the audit service. Hashes are lower-case hex unless a C2SP text format says otherwise."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from hookbus.contracts import limits
from hookbus.contracts.fields import AgentId, Cursor, EventId, UtcTime, WireModel, Words


class Order(StrEnum):
    """Which entries come first."""

    OLDEST = "oldest"
    NEWEST = "newest"


class EntryStream(StrEnum):
    """Where an entry came from: a hook, a service or person of hookbus, the log itself."""

    HOOKS = "hooks"
    SECURITY = "security"
    LOG = "log"


class EntriesRequest(WireModel):
    """``entries``: decrypted entries by index. A cursor is good for the order it was given in."""

    order: Order = Order.OLDEST
    stream: EntryStream | None = None
    agent: AgentId | None = None
    kind: Words | None = None
    session: Words | None = None
    project: Words | None = None
    outcome: Words | None = None
    since: UtcTime | None = None
    until: UtcTime | None = None
    cursor: Cursor | None = None
    page_items_max: Annotated[int, Field(ge=1, le=limits.PAGE_ITEMS_MAX)] = limits.PAGE_ITEMS_DEFAULT
    actor: Words = ""


class Entry(WireModel):
    """One log entry. ``event`` is None where its key was destroyed."""

    index: int
    event_id: EventId
    time: UtcTime
    leaf_hash: str
    event: dict[str, JsonValue] | None = None


class EntriesReply(WireModel):
    """``cursor`` is None on the last page."""

    entries: tuple[Entry, ...]
    cursor: Cursor | None = None


class CheckpointRequest(WireModel):
    """``checkpoint``: the newest."""


class CheckpointReply(WireModel):
    """``note`` is a C2SP tlog-checkpoint in signed-note form."""

    note: str
    size: int
    root_hash: str
    verifier_key: str = ""
    """The log's first public key, as a C2SP verifier key. Pin it: a key fetched with what it signs proves nothing."""
    handovers: tuple[str, ...] = ()
    """The notes by which each key handed on to the next, oldest first."""
    pruned: str | None = None
    """The newest record of pruning, a signed note; None where no entry that this checkpoint covers says so."""
    pruned_index: int | None = None
    """The entry that holds it."""


class CheckpointsRequest(WireModel):
    """``checkpoints``: those of a size over ``after_size``, smallest first."""

    after_size: Annotated[int, Field(ge=-1)] = -1
    page_items_max: Annotated[int, Field(ge=1, le=500)] = limits.PAGE_ITEMS_DEFAULT


class CheckpointsReply(WireModel):
    """``after_size`` goes into the next request; None on the last page."""

    notes: tuple[str, ...]
    after_size: int | None = None


class DetachedRequest(WireModel):
    """``detached``: the ciphertext of an entry too large for an entry bundle."""

    index: Annotated[int, Field(ge=0)]


class DetachedReply(WireModel):
    """Ciphertext and tag, base64."""

    body: str


class InclusionRequest(WireModel):
    """``inclusion``: RFC 9162 inclusion proof of ``index`` in the tree of ``size``."""

    index: Annotated[int, Field(ge=0)]
    size: Annotated[int, Field(ge=1)]


class ConsistencyRequest(WireModel):
    """``consistency``: RFC 9162 consistency proof from one tree size to a later one."""

    from_size: Annotated[int, Field(ge=0)]
    to_size: Annotated[int, Field(ge=0)]


class ProofReply(WireModel):
    """Node hashes, bottom up."""

    hashes: tuple[str, ...]


class ReceiptRequest(WireModel):
    """``receipt``."""

    event_id: EventId


class ReceiptReply(WireModel):
    """Where an event lies in the log, with everything an offline check needs."""

    event_id: EventId
    index: int
    leaf_hash: str
    record: str
    """The whole record (header, nonce, ciphertext, tag), base64."""
    proof: tuple[str, ...]
    checkpoint: str
    tlog_proof: str = ""
    """All of it as one file in C2SP tlog-proof form, to be kept and checked offline."""


class TileRequest(WireModel):
    """``tile``: a C2SP tlog-tiles path below ``tile/``."""

    path: Annotated[str, Field(max_length=128)]


class TileReply(WireModel):
    """The tile's bytes, base64."""

    body: str
    complete: bool


class VerifyDepth(StrEnum):
    """How much a check recomputes: every checkpoint from the stored hashes, every hash from its entry, or every entry
    decrypted as well."""

    CHECKPOINTS = "checkpoints"
    LEAVES = "leaves"
    ALL = "all"


Watch = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
"""A word the caller of a check makes up, by which to ask how far the check is."""


class VerifyRequest(WireModel):
    """``verify``: recompute the log from what is stored.

    ``checkpoint`` is one the caller kept from an earlier day: the log must still lead to it. Without ``depth``,
    ``decrypt`` says whether to decrypt.
    """

    decrypt: bool = True
    depth: VerifyDepth | None = None
    checkpoint: Annotated[str, Field(max_length=65_536)] | None = None
    watch: Watch | None = None


class VerifyProgressRequest(WireModel):
    """``verify_progress``: how far a check is that is under way."""

    watch: Watch


class VerifyProgressReply(WireModel):
    """Both 0 where the check has not begun, is done, or is another process's."""

    checked: int
    size: int


class VerifyReply(WireModel):
    """``first_bad_index`` and ``fault`` name the first thing found wrong."""

    ok: bool
    size: int
    root_hash: str
    checked: int
    first_bad_index: int | None = None
    fault: str | None = None


class ExportKeysRequest(WireModel):
    """``export_keys``: the data keys, sealed to a public key (X25519, hex) that is made for this one export."""

    public_key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    after: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    actor: Words = ""


class ExportKeysReply(WireModel):
    """``sealed`` is base64; ``after`` goes into the next request, None on the last page. ``size`` is that of the log
    with the entry about this export."""

    sealed: str
    keys: int
    size: int
    after: str | None = None


class EraseRequest(WireModel):
    """``erase``: make everything the log holds about an agent unreadable for good."""

    agent_id: AgentId
    actor: Words = ""
    reason: Annotated[str, Field(max_length=limits.DESCRIPTION_CHARS_MAX)] = ""


class EraseReply(WireModel):
    """How many data keys were destroyed, and how many entries were readable by them."""

    keys: int
    entries: int


class RotateRequest(WireModel):
    """``rotate_signing``: a new signing key."""

    actor: Words = ""


class RotateWrappingRequest(RotateRequest):
    """``rotate_wrapping``: a new passphrase or key file; of the kind in use where ``to`` is None."""

    to: Literal["passphrase", "key-file"] | None = None


class RotateWrappingReply(WireModel):
    """How many data keys are wrapped anew."""

    keys: int


class RotateSigningReply(WireModel):
    """``note`` is the handover, signed by the old and the new key."""

    note: str


class PruneRequest(WireModel):
    """``prune``: drop whole partitions of entries below an index, or appended before a moment. One of them is given."""

    below: Annotated[int, Field(ge=0)] | None = None
    before: UtcTime | None = None
    dry_run: bool = False
    reason: Annotated[str, Field(max_length=limits.DESCRIPTION_CHARS_MAX)] = ""
    actor: Words = ""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.below is None) == (self.before is None):
            raise ValueError("give below or before")
        return self


class PruneReply(WireModel):
    """Entries ``[first, cut)`` are pruned, or would be by a dry run.

    ``pending`` partitions are recorded as pruned and still there, because somebody reads them: ask again. ``more``: so
    much was to be pruned that another request has to go on.
    """

    first: int
    cut: int
    entries: int
    partitions: int
    pending: int
    more: bool
    dry_run: bool
