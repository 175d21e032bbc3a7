"""What every service measures: requests, consumers, publishing and the database. Read at ``/metrics``.

Names end in their unit. A label's values come from code and configuration (subjects, routes, codes), never from what an
agent sent, so that the number of series is bounded.
"""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

# The time each series began: half of all series, and of no use beside the scraper's own.
disable_created_metrics()

LATENCY_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
COUNT_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)

RPC_REQUESTS: Final = Counter(
    "hookbus_rpc_requests_total",
    "Requests answered over the bus, by subject and code (ok, or a problem's)",
    ("subject", "code"),
)
RPC_SECONDS: Final = Histogram(
    "hookbus_rpc_request_seconds",
    "Time to answer a request over the bus, in seconds",
    ("subject",),
    buckets=LATENCY_BUCKETS_S,
)

RPC_GATHERED_REQUESTS: Final = Histogram(
    "hookbus_rpc_gathered_requests",
    "Requests that one message carried, of those that did not go out alone",
    ("subject",),
    buckets=COUNT_BUCKETS,
)

CONSUMER_EVENTS: Final = Counter(
    "hookbus_consumer_events_total", "Events handled, by stream and verdict (ack, retry, poison)", ("stream", "verdict")
)
CONSUMER_REDELIVERIES: Final = Counter(
    "hookbus_consumer_redeliveries_total", "Events that were delivered again, by stream", ("stream",)
)
CONSUMER_BATCH_EVENTS: Final = Histogram(
    "hookbus_consumer_batch_events", "Events in one batch of a consumer", ("stream",), buckets=COUNT_BUCKETS
)
CONSUMER_BATCH_SECONDS: Final = Histogram(
    "hookbus_consumer_batch_seconds",
    "Time to handle one batch of a consumer, in seconds",
    ("stream",),
    buckets=LATENCY_BUCKETS_S,
)
CONSUMER_LAG_EVENTS: Final = Gauge(
    "hookbus_consumer_lag_events", "Events that the consumer has not been given yet, by stream", ("stream",)
)
CONSUMER_PENDING_EVENTS: Final = Gauge(
    "hookbus_consumer_unacknowledged_events", "Events given and not acknowledged yet, by stream", ("stream",)
)
DEADLETTERS: Final = Counter(
    "hookbus_deadletters_total", "Events this service put into the dead letters, by stream", ("stream",)
)

PUBLISH_GROUP_EVENTS: Final = Histogram(
    "hookbus_publish_group_events", "Events that one group commit stored together", buckets=COUNT_BUCKETS
)
PUBLISH_SECONDS: Final = Histogram(
    "hookbus_publish_seconds",
    "Time until the bus had confirmed one group of events, in seconds",
    buckets=LATENCY_BUCKETS_S,
)
PUBLISH_FAILURES: Final = Counter("hookbus_publish_failures_total", "Events that the bus did not confirm")

POOL_USED_CONNECTIONS: Final = Gauge(
    "hookbus_database_pool_used_connections", "Connections of the database pool in use"
)
POOL_MAX_CONNECTIONS: Final = Gauge("hookbus_database_pool_max_connections", "Connections the database pool may open")
POOL_WAIT_SECONDS: Final = Histogram(
    "hookbus_database_pool_wait_seconds",
    "Time until a connection of the pool was there, in seconds",
    buckets=LATENCY_BUCKETS_S,
)
POOL_TIMEOUTS: Final = Counter(
    "hookbus_database_pool_timeouts_total", "Times no connection of the pool became free in time"
)
QUERY_SECONDS: Final = Histogram(
    "hookbus_database_query_seconds",
    "Time of one SQL statement, in seconds, by its first word",
    ("operation",),
    buckets=LATENCY_BUCKETS_S,
)
QUERY_ERRORS: Final = Counter("hookbus_database_query_errors_total", "SQL statements that failed")

_OPERATIONS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "COPY", "SET", "LOCK", "TRUNCATE"})


def operation_label(word: str) -> str:
    """The first word of a statement as a label: one of a few."""
    return word if word in _OPERATIONS else "other"
