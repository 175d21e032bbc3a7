"""The ledger's commands, each on a batch."""

from hookbus.budget.accounts import Chain
from hookbus.budget.amounts import ZERO, Amounts
from hookbus.budget.batch import Batch
from hookbus.budget.charging import charge
from hookbus.budget.commands import (
    Answer,
    Charge,
    Closed,
    Command,
    Expire,
    Extend,
    Hold,
    HoldState,
    Operation,
    Outcome,
    Release,
    Reserve,
    Row,
)
from hookbus.budget.reserving import reserve


def apply(batch: Batch, command: Command, chain: Chain) -> Answer:
    """Do one command. ``chain`` holds the accounts of the command's place; every one of them, and of the chain of the
    hold it names, is among the batch's accounts."""
    if isinstance(command, Reserve):
        return reserve(batch, command, chain)
    if isinstance(command, Charge):
        return charge(batch, command, chain)
    if isinstance(command, Release):
        return _release(batch, command, chain)
    if isinstance(command, Extend):
        return _extend(batch, command, chain)
    return _expire(batch, command, chain)


def _release(batch: Batch, command: Release, chain: Chain) -> Closed:
    at_us = batch.tick()
    hold = batch.holds.get(command.reservation)
    if hold is None or hold.chain.agent != chain.agent:
        return Closed(Outcome.UNKNOWN)
    if hold.state is not HoldState.OPEN:
        return Closed(Outcome.CLOSED, at_us=at_us)
    _give_back(
        batch,
        hold,
        HoldState.RELEASED,
        Operation.RELEASE,
        agent_name=command.place.agent,
        at_us=at_us,
        actor=command.actor,
        detail={"reason": command.reason} if command.reason else None,
    )
    return batch.done(hold.chain, at_us, ZERO)


def _extend(batch: Batch, command: Extend, chain: Chain) -> Closed:
    at_us = batch.tick()
    hold = batch.holds.get(command.reservation)
    if hold is None or hold.chain.agent != chain.agent:
        return Closed(Outcome.UNKNOWN)
    if hold.state is not HoldState.OPEN:
        return Closed(Outcome.CLOSED, at_us=at_us)
    hold.expires_at_us = batch.expiry_us(command.ttl_s)
    batch.changed[hold.id] = hold
    batch.write(
        Row(
            at_us,
            at_us,
            Operation.EXTEND,
            command.place.agent,
            hold.chain,
            hold=hold.id,
            detail={"ttl_s": command.ttl_s},
        )
    )
    done = batch.done(hold.chain, at_us, ZERO)
    return Closed(done.outcome, done.remaining, at_us, ZERO, hold.expires_at_us)


def _expire(batch: Batch, command: Expire, chain: Chain) -> Closed:
    at_us = batch.tick()
    hold = batch.holds.get(command.reservation)
    if hold is None or hold.state is not HoldState.OPEN or not batch.is_over(hold):
        return Closed(Outcome.CLOSED, at_us=at_us)
    _give_back(batch, hold, HoldState.EXPIRED, Operation.EXPIRE, agent_name=command.place.agent, at_us=at_us)
    return batch.done(chain, at_us, ZERO)


def _give_back(
    batch: Batch,
    hold: Hold,
    state: HoldState,
    operation: Operation,
    *,
    agent_name: str,
    at_us: int,
    actor: str | None = None,
    detail: dict[str, str | int | bool] | None = None,
) -> None:
    batch.close(hold, state)
    batch.write(
        Row(
            at_us,
            at_us,
            operation,
            agent_name,
            hold.chain,
            held=ZERO - Amounts(hold.tokens, hold.usd_micros),
            hold=hold.id,
            actor=actor,
            detail=detail,
        )
    )
