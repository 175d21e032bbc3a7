"""The one job that makes the bus match its description: creates what is absent, updates what differs."""

from typing import Final

import structlog
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    KeyValueConfig,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from hookbus.platform.bus.streams import (
    BUCKETS,
    CONSUMERS,
    DUPLICATE_WINDOW_S,
    MESSAGE_BYTES_MAX,
    STREAMS,
    BucketSpec,
    ConsumerSpec,
    StreamSpec,
)

UNLIMITED: Final = -1
"""How the server spells "no bound": deliveries are bounded by the service, which dead-letters and says so."""

REPLICAS_DEFAULT: Final = 1
"""Copies of each stream and bucket: one on a single server, three in a cluster of three."""

log = structlog.get_logger(__name__)


async def provision(jetstream: JetStreamContext, replicas: int = REPLICAS_DEFAULT) -> None:
    """Create or update every stream, consumer and bucket. Repeating it changes nothing.

    Args:
        jetstream: as the user who may.
        replicas: how many servers keep each of them.

    Raises:
        nats.js.errors.APIError: the server refuses a change (a stream's storage cannot be altered, say).
    """
    for stream in STREAMS:
        await _provision_stream(jetstream, stream, replicas)
    for consumer in CONSUMERS:
        await _provision_consumer(jetstream, consumer)
    for bucket in BUCKETS:
        await _provision_bucket(jetstream, bucket, replicas)


async def _provision_stream(jetstream: JetStreamContext, spec: StreamSpec, replicas: int) -> None:
    config = StreamConfig(
        name=spec.name,
        subjects=list(spec.subjects),
        retention=spec.retention,
        storage=spec.storage,
        num_replicas=replicas,
        discard=spec.discard,
        max_bytes=spec.bytes_max,
        max_age=spec.age_max_s,
        max_msg_size=MESSAGE_BYTES_MAX,
        duplicate_window=DUPLICATE_WINDOW_S,
        allow_direct=True,
        allow_atomic=True,
    )
    try:
        await jetstream.stream_info(spec.name)
    except NotFoundError:
        await jetstream.add_stream(config)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped
        log.info("stream created", stream=spec.name)
    else:
        await jetstream.update_stream(config)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped


async def _provision_consumer(jetstream: JetStreamContext, spec: ConsumerSpec) -> None:
    # Creating a durable that exists with another configuration updates it; with the same one it changes nothing.
    await jetstream.add_consumer(  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped
        spec.stream,
        ConsumerConfig(
            name=spec.service,
            durable_name=spec.service,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=spec.ack_wait_s,
            max_deliver=UNLIMITED,
            max_ack_pending=spec.ack_pending_max,
            filter_subjects=list(spec.filter_subjects),
        ),
    )


async def _provision_bucket(jetstream: JetStreamContext, spec: BucketSpec, replicas: int) -> None:
    try:
        status = await (await jetstream.key_value(spec.name)).status()
    except NotFoundError:
        await jetstream.create_key_value(  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped
            KeyValueConfig(
                bucket=spec.name,
                history=1,
                storage=StorageType.FILE,
                replicas=replicas,
                max_bytes=spec.bytes_max,
                max_value_size=spec.value_bytes_max,
                ttl=spec.age_max_s or None,
            )
        )
        log.info("bucket created", bucket=spec.name)
    else:
        kept = status.stream_info.config
        if (kept.num_replicas or REPLICAS_DEFAULT) != replicas:
            kept.num_replicas = replicas
            await jetstream.update_stream(kept)  # pyright: ignore[reportUnknownMemberType]  # nats-py leaves its keyword options untyped
            log.info("bucket's copies changed", bucket=spec.name, replicas=replicas)
