"""Measures that break, in a running process, exactly the mechanism that one invariant rests on: the negative controls.

Each is off until the test puts a file of its name into the control folder, and off again when that is gone.
"""

import uuid
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from nats.aio.msg import Msg

import hookbus.platform.bus.consumer as consumers

TRUSTED_FOR_S = 3_600.0


class Measure(StrEnum):
    """What is broken."""

    ACKNOWLEDGE_FIRST = "acknowledge_first"
    """audit: events are acknowledged before they are handled; what dies in between is lost."""
    JUDGE_NOTHING = "judge_nothing"
    """budget: every reservation fits."""
    CHARGE_AGAIN = "charge_again"
    """budget: an event that comes again is charged again."""
    TRUST_FOR_AN_HOUR = "trust_for_an_hour"
    """gateway: what is known of a credential is asked again after an hour."""
    BURY_SILENTLY = "bury_silently"
    """session: what cannot be processed is dropped, and not put into the dead letters."""


def install(service: str, control_folder: Path) -> None:
    """Put the measures of one service into its process."""
    for measure, (where, put) in _MEASURES.items():
        if where == service:
            put((control_folder / measure).exists)


def _acknowledge_first(is_on: Callable[[], bool]) -> None:
    consumer: Any = consumers._BatchConsumer  # pyright: ignore[reportPrivateUsage]
    process = consumer.process

    async def hasty(self: Any, messages: list[Msg]) -> None:
        if is_on() and messages:
            for message in messages:
                await message.ack()
            await messages[0]._client.flush()  # pyright: ignore[reportPrivateUsage]
        await process(self, messages)

    consumer.process = hasty


def _bury_silently(is_on: Callable[[], bool]) -> None:
    consumer: Any = consumers._BatchConsumer  # pyright: ignore[reportPrivateUsage]
    bury = consumer._bury

    async def silent(self: Any, message: Msg, reason: str) -> None:
        await (message.term() if is_on() else bury(self, message, reason))

    consumer._bury = silent


def _judge_nothing(is_on: Callable[[], bool]) -> None:
    from hookbus.budget import reserving  # noqa: PLC0415 - in the budget's process alone

    judge: Any = reserving.judge

    def mild(*given: Any) -> Any:
        return None if is_on() else judge(*given)

    reserving.judge = mild


def _charge_again(is_on: Callable[[], bool]) -> None:
    from hookbus.budget import events  # noqa: PLC0415 - in the budget's process alone

    charge: Any = events.Charge

    def forgetful(*given: Any, dedupe_key: str, **named: Any) -> Any:
        key = f"{dedupe_key}-{uuid.uuid4().hex}" if is_on() else dedupe_key
        return charge(*given, dedupe_key=key, **named)

    events.Charge = forgetful  # pyright: ignore[reportAttributeAccessIssue]


def _trust_for_an_hour(is_on: Callable[[], bool]) -> None:
    from hookbus.gateway import keys  # noqa: PLC0415 - in the gateway's process alone

    cache: Any = keys.RecordCache
    get, age_s = cache.get, keys.RECORD_AGE_S_MAX

    async def trusting(self: Any, key: str) -> Any:
        keys.RECORD_AGE_S_MAX = TRUSTED_FOR_S if is_on() else age_s  # pyright: ignore[reportAttributeAccessIssue]
        return await get(self, key)

    cache.get = trusting


_MEASURES: dict[Measure, tuple[str, Callable[[Callable[[], bool]], None]]] = {
    Measure.ACKNOWLEDGE_FIRST: ("audit", _acknowledge_first),
    Measure.JUDGE_NOTHING: ("budget", _judge_nothing),
    Measure.CHARGE_AGAIN: ("budget", _charge_again),
    Measure.TRUST_FOR_AN_HOUR: ("gateway", _trust_for_an_hour),
    Measure.BURY_SILENTLY: ("session", _bury_silently),
}
