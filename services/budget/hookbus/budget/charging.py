"""Charges: what was spent is always recorded, once, and ends the hold it was reserved under."""

from typing import Final
from uuid import UUID

from hookbus.budget.accounts import Chain
from hookbus.budget.amounts import ZERO, Amounts
from hookbus.budget.batch import Batch
from hookbus.budget.commands import (
    Charge,
    Closed,
    Hold,
    HoldState,
    Operation,
    Outcome,
    Recorded,
    RequestRecord,
    Row,
)
from hookbus.budget.sources import rank_of
from hookbus.contracts.limits import RESERVATION_TTL_DEFAULT_S

EARLY_SETTLE_TTL_S: Final = RESERVATION_TTL_DEFAULT_S
"""How long a settle that came first waits for its reserve. Operation ids may be used again later."""
HOLD_STATE_UNKNOWN: Final = "unknown"
"""Of a reservation that a charge names and the ledger does not know, or not any more."""
REASON_CHARGED: Final = "its request was charged before"


def charge(batch: Batch, command: Charge, chain: Chain) -> Closed:
    """Record what was spent, settling the hold it was reserved under where that is still open. Only a hold of another
    agent is refused: one that is not known may be forgotten by now, and what was spent under it was spent."""
    at_us = batch.tick()
    known = batch.recorded.get(command.dedupe_key)
    if known is not None:
        return _again(batch, command, chain, known, at_us)
    hold: Hold | None = None
    if command.reservation is not None:
        hold = batch.holds.get(command.reservation)
        if hold is not None and hold.chain.agent != chain.agent:
            return Closed(Outcome.UNKNOWN)
    elif command.operation_id is not None:
        hold = batch.oldest(chain.agent, command.operation_id)
        if hold is None:
            _remember_early(batch, command, chain, at_us)
    if command.request_id is not None and (chain.agent, command.request_id) in batch.requests:
        return _correct(batch, command, chain, hold, at_us)
    if hold is not None and hold.state is HoldState.OPEN:
        return _settle(batch, command, hold, at_us)
    if command.amounts is None:
        return batch.done(chain, at_us, ZERO, Outcome.CLOSED)
    named = hold.id if hold is not None else command.reservation
    detail: dict[str, str | int | bool] | None = None
    if named is not None:
        detail = {"hold_state": hold.state.value if hold is not None else HOLD_STATE_UNKNOWN}
    batch.spend(chain, command.amounts, at_us, at_us)
    batch.write(_charge_row(command, chain, Operation.CHARGE, at_us, spent=command.amounts, hold=named, detail=detail))
    _remember_request(batch, command, chain, command.amounts, at_us)
    return batch.done(chain, at_us, command.amounts)


def _again(batch: Batch, command: Charge, chain: Chain, known: Recorded, at_us: int) -> Closed:
    other_body = known.fingerprint is not None and known.fingerprint != command.fingerprint
    if known.agent != chain.agent or other_body:
        return Closed(Outcome.CONFLICT)
    return batch.done(chain, at_us, known.amounts, Outcome.DUPLICATE)


def _settle(batch: Batch, command: Charge, hold: Hold, at_us: int) -> Closed:
    """Replace a hold by what was really spent, less, equal or more. The charge goes where the hold lay."""
    held = Amounts(hold.tokens, hold.usd_micros)
    spent = command.amounts or ZERO
    reported = command.amounts is not None
    batch.close(hold, HoldState.SETTLED if reported else HoldState.RELEASED)
    operation = Operation.SETTLE if reported else Operation.RELEASE
    if reported:
        batch.spend(hold.chain, spent, at_us, at_us)
        if hold.tool is not None:
            batch.learn(hold.chain.agent, hold.tool, spent)
    over = spent.tokens > held.tokens or spent.usd_micros > held.usd_micros
    detail: dict[str, str | int | bool] | None = {"overrun": True} if over else None
    batch.write(
        _charge_row(command, hold.chain, operation, at_us, spent=spent, held=ZERO - held, hold=hold.id, detail=detail)
    )
    _remember_request(batch, command, hold.chain, spent, at_us)
    return batch.done(hold.chain, at_us, spent)


def _correct(batch: Batch, command: Charge, chain: Chain, hold: Hold | None, at_us: int) -> Closed:
    """Another source reports a request that was charged: the better one's figure stands, by a row of the
    difference, counted in the windows of the first charge. An open hold of the operation is given back."""
    key = (chain.agent, command.request_id or "")
    known = batch.requests[key]
    rank = rank_of(command.pricing.source)
    if rank <= known.rank or command.amounts is None:
        _free(batch, command, hold, at_us, dedupe_key=command.dedupe_key)
        return batch.done(chain, at_us, known.amounts, Outcome.DUPLICATE)
    difference = command.amounts - known.amounts
    batch.spend(known.chain, difference, at_us, known.effective_at_us)
    row = _charge_row(
        command, known.chain, Operation.CORRECT, at_us, spent=difference, effective_at_us=known.effective_at_us
    )
    batch.write(row)
    batch.requests[key] = RequestRecord(rank, command.amounts, known.chain, known.effective_at_us)
    batch.requests_changed.add(key)
    # The row of the difference has the key, and the next row is a later one.
    _free(batch, command, hold, batch.tick(), dedupe_key=None)
    return batch.done(known.chain, at_us, command.amounts)


def _free(batch: Batch, command: Charge, hold: Hold | None, at_us: int, *, dedupe_key: str | None) -> None:
    """Give the hold of an operation back whose request was counted beside it, where it is still open."""
    if hold is None or hold.state is not HoldState.OPEN:
        return
    batch.close(hold, HoldState.RELEASED)
    if hold.tool is not None and command.amounts is not None:
        batch.learn(hold.chain.agent, hold.tool, command.amounts)
    # Not its pricing: the row of the request has that, and each is compared once.
    batch.write(
        Row(
            at_us,
            at_us,
            Operation.RELEASE,
            command.place.agent,
            hold.chain,
            held=ZERO - Amounts(hold.tokens, hold.usd_micros),
            dedupe_key=dedupe_key,
            event_id=command.event_id,
            hold=hold.id,
            fingerprint=command.fingerprint,
            request_id=command.request_id,
            detail={"reason": REASON_CHARGED},
        )
    )


def _remember_request(batch: Batch, command: Charge, chain: Chain, amounts: Amounts, at_us: int) -> None:
    if command.request_id is not None:
        key = (chain.agent, command.request_id)
        batch.requests[key] = RequestRecord(rank_of(command.pricing.source), amounts, chain, at_us)
        batch.requests_changed.add(key)


def _remember_early(batch: Batch, command: Charge, chain: Chain, at_us: int) -> None:
    early = Hold(
        batch.new_id(at_us),
        HoldState.EARLY,
        chain,
        0,
        0,
        at_us,
        batch.expiry_us(EARLY_SETTLE_TTL_S),
        command.operation_id,
    )
    batch.know(early)
    batch.opened.append(early)
    # Whoever judges by the agent's balance as it was must find that it is another now.
    agent = batch.accounts[chain.agent]
    agent.last_at_us, agent.changed = at_us, True


def _charge_row(
    command: Charge,
    chain: Chain,
    operation: Operation,
    at_us: int,
    *,
    spent: Amounts,
    held: Amounts = ZERO,
    effective_at_us: int | None = None,
    hold: UUID | None = None,
    detail: dict[str, str | int | bool] | None = None,
) -> Row:
    return Row(
        at_us,
        at_us if effective_at_us is None else effective_at_us,
        operation,
        command.place.agent,
        chain,
        spent=spent,
        held=held,
        dedupe_key=command.dedupe_key,
        event_id=command.event_id,
        hold=hold,
        fingerprint=command.fingerprint,
        request_id=command.request_id,
        pricing=command.pricing,
        detail=detail,
    )
