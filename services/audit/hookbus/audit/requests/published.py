"""What has been published: the newest checkpoint and its keys; the refusal of what lies beyond it or is pruned."""

from hookbus.audit.note import Checkpoint, NoteInvalidError, SignedNote
from hookbus.audit.opened import OpenLog
from hookbus.audit.repository import pruning, reading
from hookbus.audit.repository.leading import Connection
from hookbus.audit.signing.client import SignerAwayError
from hookbus.audit.signing.signer import SigningRefusedError
from hookbus.contracts.problems import ProblemCode, ProblemError


async def latest(connection: Connection) -> tuple[str, Checkpoint]:
    """The newest note and what it says; ``unavailable`` before the first."""
    note = await reading.latest_note(connection)
    if note is None:
        raise ProblemError(ProblemCode.UNAVAILABLE, "no checkpoint is signed yet", retry_after_s=1)
    return note, Checkpoint.parse(SignedNote.parse(note).text)


async def require_published(connection: Connection, size: int) -> None:
    """Refuse a tree size that no checkpoint covers yet."""
    _, checkpoint = await latest(connection)
    if size > checkpoint.size:
        raise ProblemError(ProblemCode.NOT_FOUND, f"the newest checkpoint is of size {checkpoint.size}")


async def require_kept(connection: Connection, index: int) -> None:
    """Refuse an entry that was pruned; its hash, and every proof from it, is still there."""
    cut = await pruning.pruned_below(connection)
    if index < cut:
        raise ProblemError(ProblemCode.GONE, f"entry {index} is pruned: the log keeps entries from {cut} on")


async def reach_signer(opened: OpenLog) -> None:
    """Learn the signer's state as it is now; ``unavailable`` where it does not answer."""
    try:
        await opened.signer.refresh()
    except (SigningRefusedError, SignerAwayError) as error:
        raise ProblemError(ProblemCode.UNAVAILABLE, "the signer is away", retry_after_s=1) from error


async def handovers_to(opened: OpenLog, note: str) -> tuple[str, ...]:
    """The handovers up to the key that signed ``note``: another process may have rotated since this one last asked."""
    try:
        opened.signer.trust.open(note)
    except NoteInvalidError:
        await reach_signer(opened)
    return opened.signer.handovers
