"""A process that has just started and knows no account is asked by everybody at once."""

import asyncio
import uuid

import pytest
from support.budget_service import Parts
from support.ledger_actions import Process

from hookbus.budget.accounts import AccountKey
from hookbus.budget.repository import Connection, reads
from hookbus.contracts.budget import DeductRequest, InitRequest, ScopeKind
from hookbus.contracts.problems import ProblemCode, ProblemError
from hookbus.platform.database.engine import is_transient

CLIENTS = 300


async def test_everybody_who_asks_for_an_unmet_agent_shares_one_look(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One connection for all of them, not one each: the pool would run dry and those who wait be refused."""
    agent, looks = f"cold-{uuid.uuid4().hex[:12]}", 0
    await parts.queries.init(InitRequest(agent_id=agent))
    find_one = reads.find_one

    async def counted(connection: Connection, key: AccountKey) -> int | None:
        nonlocal looks
        looks += 1
        return await find_one(connection, key)

    monkeypatch.setattr(reads, "find_one", counted)
    requests = [DeductRequest(agent_id=agent, tokens_used=1, idempotency_key=f"k{each}") for each in range(CLIENTS)]
    handlers = Process.of(parts).handlers
    replies = await asyncio.gather(*(handlers.deduct(request) for request in requests))
    assert not any(reply.duplicate for reply in replies)
    assert looks == 1


async def test_a_database_without_a_free_connection_is_what_may_pass_and_is_asked_again(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(_connection: Connection, _key: AccountKey) -> int | None:
        raise TimeoutError

    monkeypatch.setattr(reads, "find_one", busy)
    with pytest.raises(TimeoutError) as caught:
        await parts.queries.require(AccountKey(ScopeKind.AGENT, "nobody"))
    assert is_transient(caught.value)
    monkeypatch.undo()
    with pytest.raises(ProblemError) as again:
        await parts.queries.require(AccountKey(ScopeKind.AGENT, "nobody"))
    assert again.value.problem.code is ProblemCode.NOT_FOUND
