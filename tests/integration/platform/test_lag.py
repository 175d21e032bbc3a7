"""The gauges of a consumer's lag: there while its events are pulled, and gone with whoever pulled them."""

import asyncio
from collections.abc import Sequence

import pytest
from prometheus_client import REGISTRY
from support.bus import new_broker, started
from support.servers import NatsFixture
from support.waiting import eventually

from hookbus.platform.bus import lag
from hookbus.platform.bus.consumer import batch_loop
from hookbus.platform.bus.delivery import Ack, Delivery, Verdict
from hookbus.platform.bus.streams import SESSION_HOOKS

GAUGES = ("hookbus_consumer_lag_events", "hookbus_consumer_unacknowledged_events")
LAG_INTERVAL_S = 0.05


def exposed() -> list[float | None]:
    return [REGISTRY.get_sample_value(name, {"stream": SESSION_HOOKS.stream}) for name in GAUGES]


async def test_who_pulls_no_more_reports_no_lag(own_nats_server: NatsFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of the audit log that lost the lead goes on: its last number would stand there for ever."""

    async def acknowledge(deliveries: Sequence[Delivery]) -> Sequence[Verdict]:
        return [Ack()] * len(deliveries)

    monkeypatch.setattr(lag, "LAG_INTERVAL_S", LAG_INTERVAL_S)
    broker = new_broker(own_nats_server, "session")
    loop = batch_loop(broker, SESSION_HOOKS, acknowledge)
    async with started(broker):
        for _ in range(2):
            loop.start()
            await eventually(lambda: exposed() == [0.0, 0.0])
            await loop.stop()
            await eventually(lambda: exposed() == [None, None])
            await asyncio.sleep(2 * LAG_INTERVAL_S)
            assert exposed() == [None, None]
        loop.start()
        await loop.stop()
        loop.start()
        await eventually(lambda: exposed() == [0.0, 0.0])
        await loop.stop()
