"""A share of an agent's limits: what it binds, what it leaves alone, and how it is said."""

from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from hookbus.budget import ledger
from hookbus.budget.accounts import GLOBAL_ACCOUNT, Account, AccountConfig, Chain, LimitRule, Place
from hookbus.budget.batch import Batch
from hookbus.budget.commands import Reserve, Reserved
from hookbus.budget.windows import Calendar
from hookbus.contracts.budget import ScopeKind, Unit, Window

AGENT, PROJECT, SESSION = 2, 3, 4


def tokens(amount: int, window: Window = Window.HOUR) -> LimitRule:
    return LimitRule(Unit.TOKENS, window, amount)


def reserve(kind: ScopeKind, rule: LimitRule, count: int | None, share: float) -> Reserved:
    """An operation under one limit, which lies on the account of ``kind``."""
    configs = [
        AccountConfig(number, each, each.value, None, 1, (rule,) if each is kind else ())
        for number, each in (
            (GLOBAL_ACCOUNT, ScopeKind.GLOBAL),
            (AGENT, ScopeKind.AGENT),
            (PROJECT, ScopeKind.PROJECT),
            (SESSION, ScopeKind.SESSION),
        )
    ]
    on = Batch(
        calendar=Calendar(ZoneInfo("UTC")),
        clock_us=1_000_000_000_000,
        accounts={config.id: Account(config) for config in configs},
        new_id=lambda _at_us: UUID(int=1),
        subagents_max=1,
    )
    command = Reserve(Place("a", "p", "s"), count, None, hold=True, ttl_s=60, share=share)
    answer = ledger.apply(on, command, Chain(AGENT, PROJECT, None, SESSION))
    assert isinstance(answer, Reserved)
    return answer


@pytest.mark.parametrize("kind", [ScopeKind.AGENT, ScopeKind.SESSION])
def test_the_agents_own_limits_are_held_shorter(kind: ScopeKind) -> None:
    assert reserve(kind, tokens(100), 51, 1.0).allowed
    assert reserve(kind, tokens(100), 50, 0.5).allowed
    refused = reserve(kind, tokens(100), 51, 0.5)
    assert not refused.allowed
    assert "50 tokens of 50 tokens left this hour" in refused.reason
    assert "the limit of 100 tokens is tightened for the risk of the session" in refused.reason
    operation = reserve(kind, tokens(100, Window.OPERATION), 51, 0.5)
    assert not operation.allowed
    assert "tightened" in operation.reason


@pytest.mark.parametrize("kind", [ScopeKind.PROJECT, ScopeKind.GLOBAL])
def test_limits_that_others_share_stay(kind: ScopeKind) -> None:
    assert reserve(kind, tokens(100), 100, 0.1).allowed
    assert "tightened" not in reserve(kind, tokens(100), 101, 0.1).reason


def test_an_estimate_fits_what_is_left_of_the_share() -> None:
    answer = reserve(ScopeKind.AGENT, tokens(1_000), None, 0.1)
    assert answer.allowed
    (state,) = [one for one in answer.remaining if one.kind is ScopeKind.AGENT]
    assert 0 < state.held <= 10, "a tenth of the hundred that are left of the thousand"
