"""What the gateway counts. Labels are route templates and codes, never what a client sent."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

_LATENCY_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

REQUESTS: Final = Counter("hookbus_http_requests_total", "HTTP requests", ("method", "route", "status"))
LATENCY: Final = Histogram(
    "hookbus_http_request_seconds", "Time to answer an HTTP request, in seconds", ("method", "route"), buckets=_LATENCY_BUCKETS_S
)
EVENTS_ACCEPTED: Final = Counter("hookbus_events_accepted_total", "Events stored by the bus", ("kind",))
EVENTS_REJECTED: Final = Counter("hookbus_events_rejected_total", "Events refused", ("code",))
DECISIONS: Final = Counter("hookbus_decisions_total", "Decisions given", ("decision", "code"))
AUTHENTICATION_FAILURES: Final = Counter("hookbus_authentication_failures_total", "Requests with no valid credential")
PROBLEMS: Final = Counter("hookbus_problems_total", "Requests answered with a problem, by its code", ("code",))
SPOOL_REPLAYS: Final = Counter("hookbus_spool_replayed_events_total", "Events that had waited in a client's spool")
DEADLETTERS: Final = Gauge("hookbus_deadletters_kept_messages", "Messages in the dead letters now")
STREAMS: Final = Gauge("hookbus_streams", "Readers of the live stream")
STREAMS_CLOSED: Final = Counter("hookbus_streams_closed_total", "Streams that ended, by close code", ("code",))
STREAM_EVENTS: Final = Counter("hookbus_stream_events_total", "Events sent to readers of the live stream")
EVENTS_WAITING: Final = Gauge("hookbus_events_waiting", "Events that wait for the bus to store them")


def request_done(method: str, route: str, status: int, seconds: float) -> None:
    """Count one request."""
    known = method if method in _METHODS else "other"
    REQUESTS.labels(known, route, str(status)).inc()
    LATENCY.labels(known, route).observe(seconds)
