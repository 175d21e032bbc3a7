"""The rebuild command: finds a balance that is not what the ledger says, and sets it right."""

import asyncio
import os
import subprocess
import sys
import uuid
from decimal import Decimal

import asyncpg
from support.budget_service import Parts
from support.ledger_actions import Process
from support.servers import PostgresFixture

from hookbus.budget.recount import recount
from hookbus.contracts.budget import DeductRequest, InitRequest, Limit, ScopeRequest, Unit, Window

TIMEOUT_S = 60


def rebuild(postgres: PostgresFixture, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HOOKBUS_DATABASE_URL": postgres.database_url("budget"), **settings}
    command = [sys.executable, "-m", "hookbus.budget.rebuild", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


async def test_a_balance_that_was_tampered_with_is_found_and_set_right(
    parts: Parts, budget_postgres: PostgresFixture, superuser: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    process, agent = Process.of(parts), f"tampered-{uuid.uuid4().hex[:8]}"
    limit = Limit(unit=Unit.TOKENS, window=Window.HOUR, amount=Decimal(100))
    await parts.queries.init(InitRequest(agent_id=agent, limits=(limit,)))
    await process.handlers.deduct(DeductRequest(agent_id=agent, tokens_used=60, idempotency_key="k"))
    good = await asyncio.to_thread(rebuild, budget_postgres)
    assert (good.returncode, " 0 differ" in good.stdout) == (0, True), good.stdout + good.stderr

    await superuser.execute(
        "UPDATE budget.balances SET spent[1] = 0, held_tokens = 5"
        " WHERE account_id = (SELECT id FROM budget.accounts WHERE name = $1)",
        agent,
    )
    async with parts.database.raw() as connection:
        (found,) = [each async for each in recount(connection, parts.calendar, repair=False) if each]
    assert {(each.figure, each.balance, each.recount) for each in found if "open" not in each.figure} == {
        ("tokens hour spent", 0, 60),
        ("held tokens", 5, 0),
    }
    bad = await asyncio.to_thread(rebuild, budget_postgres)
    assert bad.returncode == 1
    assert f"agent {agent}: tokens hour spent is 0, the ledger says 60" in bad.stdout
    repaired = await asyncio.to_thread(rebuild, budget_postgres, "--repair")
    assert (repaired.returncode, "set right" in repaired.stdout) == (0, True)
    assert (await asyncio.to_thread(rebuild, budget_postgres)).returncode == 0
    (left,) = (await parts.queries.status(ScopeRequest(name=agent))).remaining
    assert (left.spent, left.held) == (60, 0)


def test_wrong_settings_are_2(budget_postgres: PostgresFixture) -> None:
    assert rebuild(budget_postgres, HOOKBUS_BUDGET_TIME_ZONE="Nowhere/Land").returncode == 2
    assert rebuild(budget_postgres, "--nonsense").returncode == 2
