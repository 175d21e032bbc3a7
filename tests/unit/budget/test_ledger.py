"""Judgement, estimates, warnings and charges on a batch of their own, without a database."""

from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from hookbus.budget import ledger
from hookbus.budget.accounts import GLOBAL_ACCOUNT, Account, AccountConfig, Chain, LimitRule, Place
from hookbus.budget.amounts import Amounts
from hookbus.budget.batch import Batch
from hookbus.budget.commands import (
    NO_PRICING,
    Charge,
    Closed,
    Expire,
    Extend,
    HoldState,
    Operation,
    Outcome,
    Pricing,
    Reserve,
    Reserved,
)
from hookbus.budget.estimates import RECENT_OPERATIONS_MAX, from_recent, remember
from hookbus.budget.reserving import REASON_EARLY
from hookbus.budget.sources import RANK_BY_SOURCE, rank_of
from hookbus.budget.windows import US_PER_S, Calendar, to_us
from hookbus.contracts.budget import Mode, ScopeKind, Unit, Window

AGENT, PROJECT, SESSION, SUBAGENT = 2, 3, 4, 5
CHAIN = Chain(AGENT, PROJECT, None, SESSION)
PLACE = Place("a", "p", "s")
NOON_US = to_us(datetime(2026, 1, 1, 12, tzinfo=UTC))


def batch(
    agent: Iterable[LimitRule] = (), project: Iterable[LimitRule] = (), warn_at: tuple[float, ...] = (0.75, 0.95)
) -> Batch:
    configs = [
        AccountConfig(GLOBAL_ACCOUNT, ScopeKind.GLOBAL, "global", None, 1),
        AccountConfig(AGENT, ScopeKind.AGENT, "a", PROJECT, 1, tuple(agent), warn_at),
        AccountConfig(PROJECT, ScopeKind.PROJECT, "p", GLOBAL_ACCOUNT, 1, tuple(project), warn_at),
        AccountConfig(SESSION, ScopeKind.SESSION, "a/s", AGENT, 1),
        AccountConfig(SUBAGENT, ScopeKind.SUBAGENT, "a/s/x", SESSION, 1),
    ]
    ids = iter(range(1, 10_000))
    return Batch(
        calendar=Calendar(ZoneInfo("UTC")),
        clock_us=NOON_US,
        accounts={config.id: Account(config) for config in configs},
        new_id=lambda _at_us: UUID(int=next(ids)),
        subagents_max=1,
    )


def tokens(amount: int, window: Window = Window.HOUR, mode: Mode = Mode.BLOCK) -> LimitRule:
    return LimitRule(Unit.TOKENS, window, amount, mode)


def reserve(on: Batch, count: int | None, chain: Chain = CHAIN, operation: str | None = None) -> Reserved:
    command = Reserve(PLACE, count, None, hold=True, ttl_s=60, operation_id=operation)
    answer = ledger.apply(on, command, chain)
    assert isinstance(answer, Reserved)
    return answer


def charge(on: Batch, count: int, key: str, **more: object) -> Closed:
    command = Charge(PLACE, Amounts(count, 0), key, **more)  # pyright: ignore[reportArgumentType]  # a test's shorthand
    answer = ledger.apply(on, command, CHAIN)
    assert isinstance(answer, Closed)
    return answer


def test_of_several_limits_that_do_not_fit_the_strictest_answers() -> None:
    on = batch(agent=[tokens(5, mode=Mode.ASK)], project=[tokens(7, Window.DAY)])
    assert (reserve(on, 6).mode, reserve(on, 6).allowed) == (Mode.ASK, False)
    refused = reserve(on, 8)
    assert (refused.mode, refused.allowed) == (Mode.BLOCK, False)
    assert refused.reason == "project p: 7 tokens of 7 tokens left today, the operation asks 8 tokens"
    assert on.rows == []


def test_a_refused_operation_takes_nothing_from_any_account() -> None:
    on = batch(agent=[tokens(100)], project=[tokens(5)])
    assert not reserve(on, 6).allowed
    assert [account.held for account in on.accounts.values()] == [[0, 0]] * 5


def test_a_used_up_limit_lets_not_even_an_operation_of_nothing_pass() -> None:
    on = batch(agent=[tokens(10)])
    assert reserve(on, 10).allowed
    assert not reserve(on, None).allowed
    assert reserve(batch(agent=[tokens(10)]), None).allowed


def test_an_estimate_never_takes_all_that_is_left() -> None:
    on = batch(agent=[tokens(1_000)])
    held = 0
    for _ in range(12):
        assert reserve(on, None).allowed
        taken = on.accounts[AGENT].held[0] - held
        assert 1 <= taken <= 100
        assert taken <= max(1, (1_000 - held) // 2)
        held += taken


def test_recent_operations_are_bounded_and_their_median_ignores_an_outlier() -> None:
    recent: list[int] = []
    for count in range(100):
        recent = remember(recent, count)
    assert len(recent) == RECENT_OPERATIONS_MAX
    assert from_recent([10, 10, 9_000_000], [1, 2, 3]) == Amounts(10, 2)


def test_a_hold_past_its_time_expires_once() -> None:
    on = batch()
    hold = reserve(on, 5).reservation
    assert hold is not None
    assert ledger.apply(on, Expire(PLACE, hold), CHAIN).outcome is Outcome.CLOSED
    on.holds[hold].expires_at_us = NOON_US
    assert ledger.apply(on, Expire(PLACE, hold), CHAIN).outcome is Outcome.DONE
    assert ledger.apply(on, Expire(PLACE, hold), CHAIN).outcome is Outcome.CLOSED
    assert [row.operation for row in on.rows] == [Operation.RESERVE, Operation.EXPIRE]
    assert on.accounts[PROJECT].held == [0, 0]


def test_holds_of_one_operation_are_settled_oldest_first() -> None:
    on = batch()
    first, second = reserve(on, 5, operation="t").reservation, reserve(on, 7, operation="t").reservation
    charge(on, 1, "k1", operation_id="t")
    charge(on, 1, "k2", operation_id="t")
    charge(on, 1, "k3", operation_id="t")
    assert [row.hold for row in on.rows[2:]] == [first, second, second]
    assert [row.operation for row in on.rows[2:]] == [Operation.SETTLE, Operation.SETTLE, Operation.CHARGE]
    assert on.rows[-1].detail == {"hold_state": "settled"}


@pytest.mark.parametrize(("mode", "wanted"), [(Mode.BLOCK, [0.75, 0.95]), (Mode.WARN, [0.75, 0.95, 1.0])])
def test_each_threshold_is_crossed_once_and_a_limit_that_only_warns_says_when_it_is_passed(
    mode: Mode, wanted: list[float]
) -> None:
    on = batch(agent=[tokens(100, mode=mode)])
    for number in range(15):
        charge(on, 10, f"k{number}")
    assert [each.threshold for each in on.warned] == wanted
    assert len({each.key for each in on.warned}) == len(wanted)


def test_one_charge_over_every_threshold_crosses_them_all_in_each_account() -> None:
    on = batch(agent=[tokens(100)], project=[tokens(100)])
    charge(on, 500, "k")
    assert [(each.account.config.kind, each.threshold) for each in on.warned] == [
        (ScopeKind.AGENT, 0.75),
        (ScopeKind.AGENT, 0.95),
        (ScopeKind.PROJECT, 0.75),
        (ScopeKind.PROJECT, 0.95),
    ]


def test_a_session_limit_warns_for_each_session() -> None:
    on = batch(agent=[tokens(100, Window.SESSION)])
    charge(on, 80, "k")
    (warned,) = on.warned
    assert warned.session is not None
    assert warned.key.startswith(f"budget_warning.{AGENT}.{SESSION}.tokens.session.100.")


def test_a_better_source_corrects_where_the_first_was_counted() -> None:
    on = batch()
    charge(on, 100, "k1", request_id="r", pricing=Pricing(source="transcript"))
    charge(on, 70, "k2", request_id="r", pricing=Pricing(source="otlp"))
    worse = charge(on, 500, "k3", request_id="r", pricing=Pricing(source="hook"))
    assert worse.outcome is Outcome.DUPLICATE
    assert [(row.operation, row.spent.tokens) for row in on.rows] == [(Operation.CHARGE, 100), (Operation.CORRECT, -30)]
    assert on.rows[1].effective_at_us == on.rows[0].at_us
    assert on.accounts[AGENT].spent[0] == 70


@pytest.mark.parametrize(
    ("source", "operations", "spent"),
    [
        ("hook", [Operation.RESERVE, Operation.CHARGE, Operation.RELEASE], 500),
        ("otlp", [Operation.RESERVE, Operation.CHARGE, Operation.CORRECT, Operation.RELEASE], 400),
    ],
)
def test_the_report_of_a_request_that_was_charged_ends_the_hold_of_its_operation(
    source: str, operations: list[Operation], spent: int
) -> None:
    """The request was counted beside the hold: it is not charged again, corrected at most, and nothing stays held."""
    on = batch(agent=[tokens(1_000)])
    command = Reserve(PLACE, 900, None, hold=True, ttl_s=60, operation_id="op", tool="Bash")
    granted = ledger.apply(on, command, CHAIN)
    assert isinstance(granted, Reserved)
    assert (hold := granted.reservation) is not None
    charge(on, 500, "event:usage", request_id="r", pricing=Pricing(source="sdk"))
    again = {"operation_id": "op", "request_id": "r", "pricing": Pricing(source=source)}
    charge(on, 400, "event:post", **again)
    assert (on.accounts[AGENT].spent[0], on.accounts[AGENT].held[0]) == (spent, 0)
    assert on.holds[hold].state is HoldState.RELEASED
    assert [row.operation for row in on.rows] == operations
    assert [row.at_us for row in on.rows] == sorted({row.at_us for row in on.rows})
    assert on.rows[-1].pricing == NO_PRICING
    assert on.recent[AGENT, "Bash"].tokens == [400], "what the operation took"
    # Operation ids may be used again: the same report once more ends no other hold.
    other = reserve(on, 100, operation="op").reservation
    assert other is not None
    assert charge(on, 400, "event:post", **again).outcome is Outcome.DUPLICATE
    assert on.holds[other].state is HoldState.OPEN
    assert len({row.dedupe_key for row in on.rows if row.dedupe_key}) == 2


def test_a_charge_under_a_reservation_nobody_knows_is_recorded_and_says_so() -> None:
    on, forgotten = batch(), UUID(int=77)
    assert charge(on, 700, "k", reservation=forgotten).outcome is Outcome.DONE
    (row,) = on.rows
    assert (row.operation, row.spent.tokens, row.hold) == (Operation.CHARGE, 700, forgotten)
    assert row.detail == {"hold_state": "unknown"}
    assert charge(on, 700, "k", reservation=forgotten).outcome is Outcome.DUPLICATE


def test_a_charge_under_a_hold_of_another_agent_is_refused() -> None:
    on = batch()
    hold = reserve(on, 5, chain=Chain(PROJECT)).reservation
    assert charge(on, 5, "k", reservation=hold).outcome is Outcome.UNKNOWN
    assert [row.operation for row in on.rows] == [Operation.RESERVE]


def test_a_hold_lives_by_the_clock_also_when_that_stepped_back() -> None:
    """The rows of the accounts run ahead of it by an hour: holds, extensions and marks of early settles do not."""
    on = batch()
    on.accounts[AGENT].last_at_us = NOON_US + 3_600 * US_PER_S

    def at(seconds: float) -> Batch:
        return Batch(
            calendar=on.calendar,
            clock_us=NOON_US + round(seconds * US_PER_S),
            accounts=on.accounts,
            new_id=on.new_id,
            subagents_max=1,
            holds=on.holds.values(),
        )

    on = at(0)
    made, extended = reserve(on, 5).reservation, reserve(on, 7).reservation
    assert made is not None
    assert extended is not None
    longer = ledger.apply(on, Extend(PLACE, extended, ttl_s=90), CHAIN)
    assert isinstance(longer, Closed)
    assert longer.expires_at_us == NOON_US + 90 * US_PER_S
    charge(on, 1, "k", operation_id="early")
    assert [hold.expires_at_us - NOON_US for hold in on.opened] == [60 * US_PER_S, 90 * US_PER_S, 60 * US_PER_S]

    on = at(59.9)
    assert ledger.apply(on, Expire(PLACE, made), CHAIN).outcome is Outcome.CLOSED
    assert reserve(on, 1, operation="early").reason == REASON_EARLY
    on = at(60)
    assert ledger.apply(on, Expire(PLACE, made), CHAIN).outcome is Outcome.DONE
    assert ledger.apply(on, Expire(PLACE, extended), CHAIN).outcome is Outcome.CLOSED
    on = at(90)
    assert ledger.apply(on, Expire(PLACE, extended), CHAIN).outcome is Outcome.DONE
    assert on.accounts[AGENT].held == [0, 0]


def test_sources_are_ranked() -> None:
    assert (
        rank_of("otlp") > rank_of("sdk") > rank_of("hook") > rank_of("transcript") > rank_of("made-up") == rank_of(None)
    )
    assert len(set(RANK_BY_SOURCE.values())) == len(RANK_BY_SOURCE)


def test_rows_are_later_than_what_the_accounts_have_seen_even_when_the_clock_stepped_back() -> None:
    on = batch()
    on.accounts[PROJECT].last_at_us = NOON_US + 5_000_000
    late = Batch(calendar=on.calendar, clock_us=NOON_US, accounts=on.accounts, new_id=on.new_id, subagents_max=1)
    charge(late, 1, "k")
    assert late.rows[0].at_us > NOON_US + 5_000_000
