"""What has been published: the newest checkpoint; the refusal of anything beyond it, and of what is pruned."""

from hookbus.audit.note import Checkpoint, SignedNote
from hookbus.audit.repository import pruning, reading
from hookbus.audit.repository.leading import Connection
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
