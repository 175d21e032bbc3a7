"""Measures that break, in one process, exactly the mechanism that one invariant rests on: the negative controls."""

import uuid
from collections.abc import Callable
from typing import Any

from nats.aio.msg import Msg

import hookbus.platform.bus.consumer as consumers


def acknowledge_first() -> None:
    """Events are acknowledged before they are handled: what dies in between is lost."""
    consumer: Any = consumers._BatchConsumer  # pyright: ignore[reportPrivateUsage]
    process = consumer.process

    async def hasty(self: Any, messages: list[Msg]) -> None:
        for message in messages:
            await message.ack()
        if messages:
            await messages[0]._client.flush()  # pyright: ignore[reportPrivateUsage]
        await process(self, messages)

    consumer.process = hasty


def bury_silently() -> None:
    """What cannot be processed is dropped, and not put into the dead letters."""

    async def bury(_self: Any, message: Msg, _reason: str) -> None:
        await message.term()

    consumer: Any = consumers._BatchConsumer  # pyright: ignore[reportPrivateUsage]
    consumer._bury = bury


def judge_nothing() -> None:
    """Every reservation fits."""
    from hookbus.budget import reserving  # noqa: PLC0415 - in the budget's process alone

    def fits(*_given: object) -> None:
        return None

    reserving.judge = fits


def charge_again() -> None:
    """An event that comes again is charged again."""
    from hookbus.budget import events  # noqa: PLC0415 - in the budget's process alone

    charge: Any = events.Charge

    def forgetful(*given: Any, dedupe_key: str, **named: Any) -> Any:
        return charge(*given, dedupe_key=f"{dedupe_key}-{uuid.uuid4().hex}", **named)

    events.Charge = forgetful  # pyright: ignore[reportAttributeAccessIssue]


def trust_for_an_hour() -> None:
    """The gateway asks about a credential once an hour."""
    from hookbus.gateway import keys  # noqa: PLC0415 - in the gateway's process alone

    keys.RECORD_AGE_S_MAX = 3_600.0  # pyright: ignore[reportAttributeAccessIssue]


MEASURES: dict[str, Callable[[], None]] = {
    measure.__name__: measure
    for measure in (acknowledge_first, bury_silently, judge_nothing, charge_again, trust_for_an_hour)
}
