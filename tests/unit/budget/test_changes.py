"""What an account's limits are after some of them were named."""

from hookbus.budget.accounts import LimitRule
from hookbus.budget.changes import LimitChange, LimitChanges
from hookbus.contracts.budget import Mode, Unit, Window

HOUR = LimitRule(Unit.TOKENS, Window.HOUR, 100, Mode.ASK)
DAY = LimitRule(Unit.TOKENS, Window.DAY, 500)


def change(window: Window, amount: int | None, mode: Mode | None = None) -> LimitChange:
    return LimitChange(Unit.TOKENS, window, amount, mode)


def test_what_is_not_named_stays() -> None:
    after = LimitChanges((change(Window.DAY, 900), change(Window.WEEK, 7))).onto([HOUR, DAY])
    assert set(after) == {
        HOUR,
        LimitRule(Unit.TOKENS, Window.DAY, 900),
        LimitRule(Unit.TOKENS, Window.WEEK, 7),
    }
    assert LimitChanges().onto([HOUR, DAY]) == (HOUR, DAY)


def test_a_changed_amount_keeps_the_mode_and_a_named_mode_replaces_it() -> None:
    assert LimitChanges((change(Window.HOUR, 50),)).onto([HOUR]) == (LimitRule(Unit.TOKENS, Window.HOUR, 50, Mode.ASK),)
    assert LimitChanges((change(Window.HOUR, 50, Mode.WARN),)).onto([HOUR]) == (
        LimitRule(Unit.TOKENS, Window.HOUR, 50, Mode.WARN),
    )


def test_no_amount_takes_a_limit_away_and_one_that_is_not_there_is_no_fault() -> None:
    assert LimitChanges((change(Window.HOUR, None), change(Window.MONTH, None))).onto([HOUR, DAY]) == (DAY,)


def test_replace_leaves_nothing_but_what_is_named() -> None:
    assert LimitChanges((change(Window.HOUR, 9),), replace=True).onto([HOUR, DAY]) == (
        LimitRule(Unit.TOKENS, Window.HOUR, 9),
    )
    assert LimitChanges(replace=True).onto([HOUR, DAY]) == ()
