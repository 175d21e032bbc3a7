"""Whether balances are what the ledger says: every account counted again from its rows, and set right if asked."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from hookbus.budget.accounts import WITHIN_SESSION, Account
from hookbus.budget.repository import Connection, accounts
from hookbus.budget.repository import ledger as ledger_repository
from hookbus.budget.repository import recount as repository
from hookbus.budget.windows import SLOTS, Calendar
from hookbus.contracts.budget import Unit, Window

ACCOUNTS_PER_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of one balance that is not what the rows say."""

    account: str
    figure: str
    balance: int
    recount: int


async def recount(connection: Connection, calendar: Calendar, *, repair: bool) -> AsyncIterator[list[Difference]]:
    """Count every account again, on live data: each under its own lock, one after the other. Yields the differences
    of each account, mostly none; with ``repair`` they are set right in the same transaction."""
    after = 0
    while True:
        ids = await repository.all_accounts(connection, after, ACCOUNTS_PER_PAGE)
        for account in ids:
            async with connection.transaction():
                yield await recount_one(connection, calendar, account, repair=repair)
        if len(ids) < ACCOUNTS_PER_PAGE:
            return
        after = ids[-1]


async def recount_one(connection: Connection, calendar: Calendar, account: int, *, repair: bool) -> list[Difference]:
    """Count one account again, under its lock, in the caller's transaction."""
    (locked,) = await ledger_repository.lock(connection, [account])
    (config,) = await accounts.configs(connection, [account])
    balance = locked.onto(Account(config))
    at_us = max(locked.clock_us, balance.last_at_us)
    balance.roll(calendar, at_us)

    counted = Account(config, last_at_us=balance.last_at_us)
    counted.roll(calendar, at_us)
    for reset_us, unit, window in await repository.resets(connection, account):
        for slot, (slot_window, slot_unit) in enumerate(SLOTS):
            if (unit is None or Unit(unit) is slot_unit) and (window is None or Window(window) is slot_window):
                counted.starts_us[slot] = max(counted.starts_us[slot], reset_us)
    held, counted.spent, subagents = await repository.sums(connection, config.kind, account, counted.starts_us)
    counted.held = held
    counted.subagents = subagents if config.kind in WITHIN_SESSION else 0

    name = f"{config.kind} {config.name}"
    open_tokens, open_usd_micros = await repository.open_holds(connection, config.kind, account)
    figures = [
        ("held tokens", balance.held[0], held[0]),
        ("held usd micros", balance.held[1], held[1]),
        ("subagents", balance.subagents, counted.subagents),
        ("open holds' tokens", open_tokens, held[0]),
        ("open holds' usd micros", open_usd_micros, held[1]),
    ]
    for slot, (window, unit) in enumerate(SLOTS):
        figures.append((f"{unit} {window} start", balance.starts_us[slot], counted.starts_us[slot]))
        figures.append((f"{unit} {window} spent", balance.spent[slot], counted.spent[slot]))
    differences = [Difference(name, figure, stored, again) for figure, stored, again in figures if stored != again]
    if differences and repair:
        await ledger_repository.save(connection, [counted])
    return differences
