"""From the ledger's words to the contract's."""

from collections.abc import Iterable
from typing import Any

from hookbus.budget.accounts import LimitState
from hookbus.budget.amounts import ledger_amount, usd_of, wire_amount
from hookbus.budget.changes import LimitChange, LimitChanges
from hookbus.budget.windows import to_datetime
from hookbus.contracts.budget import HistoryEntry, Limit, Remaining, Window
from hookbus.contracts.problems import FieldError, ProblemCode, ProblemError


def remaining_view(states: Iterable[LimitState]) -> tuple[Remaining, ...]:
    """Limits and how far they are used."""
    return tuple(_remaining(state) for state in states)


def _remaining(state: LimitState) -> Remaining:
    kind, name, rule, spent, held, resets_at_us = state
    unit = rule.unit
    return Remaining(
        scope=kind,
        name=name,
        unit=unit,
        window=rule.window,
        amount=wire_amount(unit, rule.amount),
        spent=wire_amount(unit, spent),
        held=wire_amount(unit, held),
        remaining=wire_amount(unit, max(0, rule.amount - spent - held)),
        resets_at=to_datetime(resets_at_us) if resets_at_us is not None else None,
    )


def changes_of(limits: Iterable[Limit], *, replace: bool) -> LimitChanges:
    """The ledger's form of limits to set.

    Raises:
        ProblemError: two limits of one unit and window.
    """
    named: dict[tuple[str, Window], LimitChange] = {}
    for place, limit in enumerate(limits):
        key = (limit.unit, limit.window)
        if key in named:
            message = f"a second limit of {limit.unit} for the window {limit.window}"
            fault = FieldError(loc=f"limits.{place}", msg=message)
            raise ProblemError(ProblemCode.BODY_INVALID, message, errors=(fault,))
        amount = ledger_amount(limit.unit, limit.amount) if limit.amount is not None else None
        named[key] = LimitChange(limit.unit, limit.window, amount, limit.mode)
    return LimitChanges(tuple(named.values()), replace)


def history_view(row: Any) -> HistoryEntry:
    """One row of the ledger."""
    reported, computed = row["reported_usd_micros"], row["computed_usd_micros"]
    return HistoryEntry(
        id=row["id"],
        time=row["at"],
        operation=row["operation"],
        agent_id=row["agent_id"],
        tokens=row["tokens"],
        usd=usd_of(row["usd_micros"]),
        held_tokens=row["held_tokens"],
        held_usd=usd_of(row["held_usd_micros"]),
        event_id=row["event_id"],
        request_id=row["request_id"],
        reservation=str(row["reservation"]) if row["reservation"] is not None else None,
        model=row["model"],
        price_version=row["price_version"],
        source=row["source"],
        reported_usd=usd_of(reported) if reported is not None else None,
        computed_usd=usd_of(computed) if computed is not None else None,
        actor=row["actor"] or None,
        detail=row["detail"] or {},
    )
