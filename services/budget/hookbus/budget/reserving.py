"""Reservations: may an operation go ahead, and what it holds until it ends."""

from typing import Final
from uuid import UUID

from hookbus.budget import estimates
from hookbus.budget.accounts import Account, Chain
from hookbus.budget.amounts import ZERO, Amounts
from hookbus.budget.batch import Batch, Recent
from hookbus.budget.commands import Hold, HoldState, Operation, Outcome, Reserve, Reserved, Row
from hookbus.budget.judge import Breach, judge
from hookbus.contracts.budget import NAME_SEPARATOR, Mode
from hookbus.contracts.decisions import DecisionCode

REASON_OK: Final = "fits every limit"
REASON_DUPLICATE: Final = "reserved before"
REASON_EARLY: Final = "the operation was settled before it was reserved"
REASON_CONFLICT: Final = "the event id was used by another agent"


def reserve(batch: Batch, command: Reserve, chain: Chain) -> Reserved:
    """Judge an operation against every limit above it and, where it fits and asks for it, hold its estimate."""
    at_us = batch.tick()
    accounts = batch.rolled(chain, at_us)
    session = batch.accounts[chain.session] if chain.session is not None else None
    reservation: UUID | None = None
    breach: Breach | None = None
    outcome, reason = Outcome.DONE, REASON_OK
    known = batch.recorded.get(command.dedupe_key or "")
    if known is not None and known.agent != chain.agent:
        outcome, reason = Outcome.CONFLICT, REASON_CONFLICT
    elif known is not None:
        outcome, reason, reservation = Outcome.DUPLICATE, REASON_DUPLICATE, known.hold
    elif (early := _early(batch, chain.agent, command)) is not None:
        batch.close(early, HoldState.SETTLED)
        batch.write(_row(command, chain, at_us, early, held=ZERO, detail={"settled_early": True}))
        reason, reservation = REASON_EARLY, early.id
    else:
        asked, least = _size(batch, command, chain, accounts, session)
        breach = _one_too_many(batch, chain, session) or judge(accounts, session, asked, least, command.share)
        if command.hold and (breach is None or breach.mode is Mode.WARN):
            reservation = _hold(batch, command, chain, at_us, asked)
    refused = breach is not None and breach.mode is not Mode.WARN
    return Reserved(
        allowed=not refused and outcome is not Outcome.CONFLICT,
        code=breach.code if breach is not None and refused else DecisionCode.OK,
        reason=breach.reason if breach is not None else reason,
        mode=breach.mode if breach is not None and refused else Mode.BLOCK,
        remaining=batch.remaining(accounts, session, at_us),
        at_us=at_us,
        reservation=reservation,
        outcome=outcome,
    )


def _hold(batch: Batch, command: Reserve, chain: Chain, at_us: int, asked: Amounts) -> UUID:
    hold = Hold(
        batch.new_id(at_us),
        HoldState.OPEN,
        chain,
        asked.tokens,
        asked.usd_micros,
        at_us,
        batch.expiry_us(command.ttl_s),
        command.operation_id,
        command.tool,
    )
    batch.know(hold)
    batch.opened.append(hold)
    batch.write(_row(command, chain, at_us, hold, held=asked))
    return hold.id


def _row(
    command: Reserve,
    chain: Chain,
    at_us: int,
    hold: Hold,
    *,
    held: Amounts,
    detail: dict[str, str | int | bool] | None = None,
) -> Row:
    return Row(
        at_us,
        at_us,
        Operation.RESERVE,
        command.place.agent,
        chain,
        held=held,
        dedupe_key=command.dedupe_key,
        event_id=command.event_id,
        hold=hold.id,
        detail=detail,
    )


def _one_too_many(batch: Batch, chain: Chain, session: Account | None) -> Breach | None:
    """A breach where this is the first operation of a subagent that its session may no longer start."""
    if session is None or chain.subagent is None:
        return None
    subagent = batch.accounts[chain.subagent]
    if subagent.subagents or session.subagents < batch.subagents_max:
        return None
    started = f"{session.subagents} subagent{'' if session.subagents == 1 else 's'} started"
    reason = (
        f"subagent cap: session {session.config.name} has {started}, at most {batch.subagents_max} are allowed in a "
        f"session; {subagent.config.name.split(NAME_SEPARATOR, 2)[-1]!r} would be one more"
    )
    return Breach(DecisionCode.OPERATION_TOO_EXPENSIVE, Mode.BLOCK, reason)


def _size(
    batch: Batch, command: Reserve, chain: Chain, accounts: list[Account], session: Account | None
) -> tuple[Amounts, Amounts]:
    if command.tokens is None and command.usd_micros is None:
        recent = batch.recent.get((chain.agent, command.tool or "")) or Recent()
        wanted = estimates.from_recent(recent.tokens, recent.usd_micros)
        return estimates.bounded(wanted, accounts, session, command.share), ZERO
    # Of the unit that nobody sized nothing is held, but something must be left.
    least = Amounts(int(command.tokens is None), int(command.usd_micros is None))
    return Amounts(command.tokens or 0, command.usd_micros or 0), least


def _early(batch: Batch, agent: int, command: Reserve) -> Hold | None:
    if not command.hold or command.operation_id is None:
        return None
    for hold in batch.by_operation.get((agent, command.operation_id), ()):
        if hold.state is HoldState.EARLY and not batch.is_over(hold):
            return hold
    return None
