"""How far a durable consumer is behind, asked of the server at intervals."""

import asyncio
from typing import Final

from nats.errors import Error as NatsError
from nats.js.errors import Error as JetStreamError

from hookbus.platform import metrics
from hookbus.platform.bus.connection import Broker, jetstream
from hookbus.platform.bus.streams import ConsumerSpec

LAG_INTERVAL_S: Final = 5.0
LAG_TIMEOUT_S: Final = 2.0


async def watch_lag(broker: Broker, spec: ConsumerSpec) -> None:
    """Keep the gauges of one consumer true until cancelled, and take them away then: a number that nobody renews would
    look like a true one. While the bus is away they keep their last value."""
    try:
        while True:
            try:
                info = await jetstream(broker).consumer_info(spec.stream, spec.service, timeout=LAG_TIMEOUT_S)
            except (NatsError, JetStreamError, OSError, TimeoutError):
                pass
            else:
                # By name each time: a watch that ends late takes away what its successor holds.
                metrics.CONSUMER_LAG_EVENTS.labels(spec.stream).set(info.num_pending or 0)
                metrics.CONSUMER_PENDING_EVENTS.labels(spec.stream).set(info.num_ack_pending or 0)
            await asyncio.sleep(LAG_INTERVAL_S)
    finally:
        metrics.CONSUMER_LAG_EVENTS.remove(spec.stream)
        metrics.CONSUMER_PENDING_EVENTS.remove(spec.stream)
