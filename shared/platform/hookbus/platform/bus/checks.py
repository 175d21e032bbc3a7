"""Readiness of the bus: the connection, and each consumer this service drinks from."""

from faststream.nats import NatsBroker

from hookbus.platform.bus.connection import is_connected, jetstream
from hookbus.platform.bus.streams import ConsumerSpec
from hookbus.platform.health import CHECK_TIMEOUT_S, Check


def bus_check(broker: NatsBroker) -> Check:
    """The server answers a round trip."""

    async def probe() -> None:
        if not is_connected(broker):
            raise ConnectionError
        await broker.connection.flush(timeout=int(CHECK_TIMEOUT_S))

    return Check("nats", probe)


def consumer_check(broker: NatsBroker, spec: ConsumerSpec) -> Check:
    """The durable still exists: a deleted one lets every pull fail while the connection looks healthy."""

    async def probe() -> None:
        await jetstream(broker).consumer_info(spec.stream, spec.service, timeout=CHECK_TIMEOUT_S)

    return Check(f"consumer:{spec.stream}", probe)
