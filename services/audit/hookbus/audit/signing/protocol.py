"""What the audit service and its signer say to each other: one JSON object a line, a reply for each request."""

from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from hookbus.contracts.fields import WireModel

LINE_BYTES_MAX: Final = 256 * 1024


class OpenOrder(WireModel):
    """Which log to sign for; the first order of a connection."""

    op: Literal["open"] = "open"
    origin: str


class SignOrder(WireModel):
    """Sign a checkpoint. ``proof`` holds hex hashes from the size signed last."""

    op: Literal["sign"] = "sign"
    size: int
    root: str
    from_size: int
    proof: tuple[str, ...]


class RotateOrder(WireModel):
    """Hand over to a new key."""

    op: Literal["rotate"] = "rotate"


class PruneOrder(WireModel):
    """Sign a record of pruning. ``proof`` holds hex hashes from ``cut`` to the size signed last."""

    op: Literal["prune"] = "prune"
    cut: int
    root: str
    ids: str
    proof: tuple[str, ...]


AnyOrder = OpenOrder | SignOrder | RotateOrder | PruneOrder
Order = Annotated[AnyOrder, Field(discriminator="op")]
ORDERS: Final[TypeAdapter[AnyOrder]] = TypeAdapter(Order)


class Answer(WireModel):
    """``refused`` says why nothing was done; else ``note`` is what was signed. The rest is the signer's state."""

    refused: str | None = None
    note: str | None = None
    verifier_key: str = ""
    last_size: int | None = None
    last_root: str | None = None
    handovers: tuple[str, ...] = ()
