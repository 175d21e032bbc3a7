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
    """Keep the gauges of one consumer true until cancelled. While the bus is away they keep their last value."""
    lag = metrics.CONSUMER_LAG_EVENTS.labels(spec.stream)
    unacknowledged = metrics.CONSUMER_PENDING_EVENTS.labels(spec.stream)
    while True:
        try:
            info = await jetstream(broker).consumer_info(spec.stream, spec.service, timeout=LAG_TIMEOUT_S)
        except (NatsError, JetStreamError, OSError, TimeoutError):
            pass
        else:
            lag.set(info.num_pending or 0)
            unacknowledged.set(info.num_ack_pending or 0)
        await asyncio.sleep(LAG_INTERVAL_S)
