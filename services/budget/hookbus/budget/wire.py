"""The replies to ``check`` and ``deduct`` as JSON text.

The same bytes as :class:`ReserveReply` and :class:`DeductReply` give, written without making a model of every limit:
these two are asked thousands of times a second.
"""

import json
from functools import lru_cache
from typing import Final

from hookbus.budget.accounts import LimitState
from hookbus.budget.amounts import MICROS_PER_USD
from hookbus.budget.commands import Closed, Outcome, Reserved
from hookbus.budget.windows import to_datetime
from hookbus.contracts.budget import Unit

MOMENTS_REMEMBERED_MAX: Final = 64
"""Ends of windows: all accounts share the same few."""

_quoted = json.JSONEncoder(ensure_ascii=False).encode


def reserve_reply(agent_id: str, answer: Reserved) -> bytes:
    """``ReserveReply`` of an answer that is no conflict."""
    allowed = "true" if answer.allowed else "false"
    reservation = f'"{answer.reservation}"' if answer.reservation is not None else "null"
    return (
        f'{{"allowed":{allowed},"reason":{_quoted(answer.reason)},"code":"{answer.code}","agent_id":{_quoted(agent_id)},'
        f'"remaining":[{_remaining(answer.remaining)}],"reservation":{reservation},"mode":"{answer.mode}"}}'
    ).encode()


def deduct_reply(answer: Closed) -> bytes:
    """``DeductReply`` of an answer that was counted, now or before."""
    amounts, duplicate = answer.amounts, "true" if answer.outcome is Outcome.DUPLICATE else "false"
    return (
        f'{{"deducted":{{"tokens":{amounts.tokens},"usd":"{_usd(amounts.usd_micros)}"}},'
        f'"remaining":[{_remaining(answer.remaining)}],"duplicate":{duplicate}}}'
    ).encode()


def _remaining(states: tuple[LimitState, ...]) -> str:
    return ",".join([_limit(state) for state in states])


def _limit(state: LimitState) -> str:
    kind, name, rule, spent, held, resets_at_us = state
    text = str if rule.unit is Unit.TOKENS else _usd
    left = max(0, rule.amount - spent - held)
    return (
        f'{{"scope":"{kind}","name":{_quoted(name)},"unit":"{rule.unit}","window":"{rule.window}",'
        f'"amount":"{text(rule.amount)}","spent":"{text(spent)}","held":"{text(held)}","remaining":"{text(left)}",'
        f'"resets_at":{_moment(resets_at_us)}}}'
    )


def _usd(micros: int) -> str:
    whole, part = divmod(abs(micros), MICROS_PER_USD)
    return f"{'-' if micros < 0 else ''}{whole}.{part:06d}"


@lru_cache(MOMENTS_REMEMBERED_MAX)
def _moment(moment_us: int | None) -> str:
    if moment_us is None:
        return "null"
    return f'"{to_datetime(moment_us).isoformat().replace("+00:00", "Z")}"'
