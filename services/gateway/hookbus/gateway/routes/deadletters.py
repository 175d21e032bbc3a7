"""``/api/v1/deadletters``: what no service could process. Looking, requeueing and dropping are events in the log."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import StringConstraints

from hookbus.contracts.deadletters import DeadLetter, DeadLetterDone, DeadLetterListReply
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.contracts.session import KeyScope
from hookbus.gateway.calls import Admin, Cursor, needs
from hookbus.gateway.deadletters import DeadLetters

PAGE_ITEMS_DEFAULT: Final = 50
PAGE_ITEMS_MAX: Final = 200
"""Each item is a request to the bus of its own."""
SEQUENCE_MAX: Final = 2**63 - 1
ADMIN: Final = needs(KeyScope.ADMIN)

router = APIRouter(prefix="/api/v1/deadletters", tags=["dead letters"])


def deadletters_of(request: Request) -> DeadLetters:
    """The dead letters of the application that serves ``request``."""
    letters: DeadLetters = request.app.state.deadletters
    return letters


LettersOf = Annotated[DeadLetters, Depends(deadletters_of)]
Sequence = Annotated[int, Path(ge=1, le=SEQUENCE_MAX, description="The dead letter's own sequence number")]
ServiceName = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,32}$")]


@router.get("", response_model_exclude_none=True, openapi_extra=ADMIN)
async def list_deadletters(
    letters: LettersOf,
    _caller: Admin,
    service: Annotated[ServiceName | None, Query(description="Only those of this service")] = None,
    cursor: Cursor = None,
    page_items: Annotated[int, Query(ge=1, le=PAGE_ITEMS_MAX, alias="limit")] = PAGE_ITEMS_DEFAULT,
) -> DeadLetterListReply:
    """Dead letters without their content, oldest first."""
    return await letters.list(from_seq=_position(cursor), service=service, items_max=page_items)


@router.get("/{seq}", response_model_exclude_none=True, openapi_extra=ADMIN)
async def show_deadletter(letters: LettersOf, caller: Admin, seq: Sequence) -> DeadLetter:
    """One dead letter with its content."""
    return await letters.show(seq, actor=caller.actor)


@router.post("/{seq}/requeue", response_model_exclude_none=True, openapi_extra=ADMIN)
async def requeue_deadletter(letters: LettersOf, caller: Admin, seq: Sequence) -> DeadLetterDone:
    """Put the message back where it came from. Services that had processed it do not count it again."""
    return await letters.requeue(seq, actor=caller.actor)


@router.delete("/{seq}", response_model_exclude_none=True, openapi_extra=ADMIN)
async def drop_deadletter(letters: LettersOf, caller: Admin, seq: Sequence) -> DeadLetterDone:
    """Give the message up: it is deleted."""
    return await letters.drop(seq, actor=caller.actor)


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 1
    if not (cursor.isascii() and cursor.isdigit() and 1 <= int(cursor) <= SEQUENCE_MAX):
        raise ProblemError(ProblemCode.BODY_INVALID, "not a cursor of this list")
    return int(cursor)
