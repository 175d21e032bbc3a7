"""Rows that one transaction takes away while another one is about to use them: both are done, one after the other."""

import asyncio
import hashlib
from datetime import UTC, datetime

from support.events import unique

from hookbus.platform.database.engine import Database
from hookbus.session.domain.people import Attempts
from hookbus.session.domain.terminals import Output, Terminal
from hookbus.session.repository import terminals, users

ROUNDS = 25
AT_ONCE = 3
"""Of each kind."""


async def test_wrong_logins_are_counted_while_right_ones_forget_the_count(database: Database) -> None:
    name, now = hashlib.sha256(unique("name").encode()).hexdigest(), datetime.now(UTC)

    async def wrong() -> None:
        for _ in range(ROUNDS):
            async with database.begin() as connection:
                after = (await users.lock_attempts(connection, name, at=now)).failed(now)
                await users.save_attempts(connection, name, after)

    async def right() -> None:
        for _ in range(ROUNDS):
            async with database.begin() as connection:
                await users.forget_attempts(connection, name)

    await asyncio.gather(*(kind() for kind in (wrong, right) for _ in range(AT_ONCE)))
    async with database.begin() as connection:
        await users.forget_attempts(connection, name)
    await asyncio.gather(*(wrong() for _ in range(AT_ONCE)))
    async with database.begin() as connection:
        assert (await users.attempts(connection, name)).failures == AT_ONCE * ROUNDS
        assert await users.lock_attempts(connection, "0" * 64, at=now) == Attempts(0, now, None)


async def test_terminals_are_forgotten_while_they_print(database: Database) -> None:
    """What was printed goes with its terminal, and what is printed afterwards opens it anew."""
    agent, names = unique("agent"), [unique("t") for _ in range(4)]

    async def prints(number: int) -> None:
        for turn in range(ROUNDS):
            at = datetime.now(UTC)
            # Each in an order of its own: locks are taken in one.
            wanted = [Terminal(agent, name, opened_at=at) for name in (names if number % 2 else reversed(names))]
            async with database.begin() as connection:
                found = await terminals.open_and_lock(connection, wanted)
                assert found.keys() == {(agent, name) for name in names}
                said = [
                    Output(f"{agent}-{number}-{turn}-{name}", agent, name, turn, "stdout", "x", at) for name in names
                ]
                await terminals.save(connection, list(found.values()), said)

    async def forgets() -> None:
        for _ in range(ROUNDS):
            async with database.begin() as connection:
                await terminals.forget(connection, before=datetime.now(UTC), items_max=3, agent_id=agent)

    await asyncio.gather(*(prints(number) for number in range(AT_ONCE)), *(forgets() for _ in range(AT_ONCE)))
    async with database.begin() as connection:
        gone = [
            await terminals.forget(connection, before=datetime.now(UTC), items_max=3, agent_id=agent) for _ in "123"
        ]
    assert gone[-1] == 0
    async with database.raw() as connection:
        query = "SELECT count(*) FROM session.terminal_output WHERE agent_id = $1"
        assert await connection.fetchval(query, agent) == 0
