"""Puts the points of ``points.py`` into a service's process, from outside: the product knows nothing of them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg.transaction
from nats.aio.msg import Msg
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from hookbus.platform.bus.consumer import _BatchConsumer  # pyright: ignore[reportPrivateUsage]
from hookbus.platform.bus.delivery import Ack, Verdict
from hookbus.platform.bus.publisher import Outgoing, Publisher
from support.matrix.points import Point, Trap

ANSWERS = ("/api/v1/events", "/api/v1/decide")
ANSWER_LEFT_S = 0.01
"""The event loop writes an answer to its socket a moment after it was handed over."""


def install(service: str, control_folder: Path) -> None:
    """Every point of one service."""
    trap = Trap(control_folder, service)
    if service == "gateway":
        _around_publishing(trap)
        _after_answers(trap)
    else:
        _around_commits(trap)
        _after_acks(trap)


def _around_publishing(trap: Trap) -> None:
    store_many = Publisher.store_many

    async def trapped(self: Publisher, messages: Sequence[Outgoing]) -> Any:
        trap.reach(Point.BEFORE_COMMIT)
        results = await store_many(self, messages)
        trap.reach(Point.AFTER_COMMIT)
        return results

    Publisher.store_many = trapped


def _after_answers(trap: Trap) -> None:
    send = RequestResponseCycle.send

    async def trapped(self: RequestResponseCycle, message: Any) -> None:
        await send(self, message)
        ended = message["type"] == "http.response.body" and not message.get("more_body", False)
        if ended and self.scope["path"] in ANSWERS:
            asyncio.get_running_loop().call_later(ANSWER_LEFT_S, trap.reach, Point.AFTER_ACK)

    RequestResponseCycle.send = trapped


def _around_commits(trap: Trap) -> None:
    # Everything commits through here: SQLAlchemy's transactions as well as asyncpg's own.
    transaction: Any = asyncpg.transaction.Transaction
    commit = transaction._Transaction__commit

    async def trapped(self: Any) -> None:
        trap.reach(Point.BEFORE_COMMIT)
        await commit(self)
        trap.reach(Point.AFTER_COMMIT)

    transaction._Transaction__commit = trapped


def _after_acks(trap: Trap) -> None:
    apply = _BatchConsumer._apply  # pyright: ignore[reportPrivateUsage]

    async def trapped(self: Any, message: Msg, verdict: Verdict) -> None:
        await apply(self, message, verdict)
        if isinstance(verdict, Ack) and trap.is_armed(Point.AFTER_ACK):
            await message._client.flush()  # pyright: ignore[reportPrivateUsage]
            trap.reach(Point.AFTER_ACK)

    _BatchConsumer._apply = trapped  # pyright: ignore[reportPrivateUsage]
