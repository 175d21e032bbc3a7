"""What the gateway counts. Labels are route templates and codes, never what a client sent."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from hookbus.platform.metrics import LATENCY_BUCKETS_S

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS: Final = Counter("hookbus_http_requests_total", "HTTP requests", ("method", "route", "status"))
LATENCY: Final = Histogram(
    "hookbus_http_request_seconds",
    "Time to answer an HTTP request, in seconds",
    ("method", "route"),
    buckets=LATENCY_BUCKETS_S,
)
EVENTS_ACCEPTED: Final = Counter("hookbus_events_accepted_total", "Events stored by the bus", ("kind",))
EVENTS_REJECTED: Final = Counter("hookbus_events_rejected_total", "Events refused", ("code",))
DECISIONS: Final = Counter("hookbus_decisions_total", "Decisions given", ("decision", "code"))
AUTHENTICATION_FAILURES: Final = Counter("hookbus_authentication_failures_total", "Requests with no valid credential")
STREAMS: Final = Gauge("hookbus_streams", "Readers of the live stream")
STREAMS_CLOSED: Final = Counter("hookbus_streams_closed_total", "Streams that ended, by close code", ("code",))
STREAM_EVENTS: Final = Counter("hookbus_stream_events_total", "Events sent to readers of the live stream")
PROBLEMS: Final = Counter("hookbus_problems_total", "Requests answered with a problem, by its code", ("code",))
SPOOL_REPLAYS: Final = Counter("hookbus_spool_replayed_events_total", "Events that had waited in a client's spool")
DEADLETTERS: Final = Gauge("hookbus_deadletters_kept_messages", "Messages in the dead letters now")
EVENTS_WAITING: Final = Gauge("hookbus_events_waiting", "Events that wait for the bus to store them")


def request_done(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request."""
    known = method if method in _METHODS else "other"
    REQUESTS.labels(known, route, str(status)).inc()
    LATENCY.labels(known, route).observe(seconds)
