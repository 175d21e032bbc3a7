"""Every stream, durable consumer and bucket of the bus, as data. Provisioned by one job; services only bind to them."""

from dataclasses import dataclass
from typing import Final

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType

from hookbus.contracts import limits, subjects
from hookbus.contracts.events import Kind

MESSAGE_BYTES_MAX: Final = limits.EVENT_BYTES_MAX + 64 * 1024
"""An event and its headers."""

DUPLICATE_WINDOW_S: Final = 120.0
"""Spares storage when a publisher retries. Correctness never rests on it: each service's unique key does that."""

HOOKS_BYTES_MAX: Final = 2 * 1024**3
SECURITY_BYTES_MAX: Final = 512 * 1024**2
DEADLETTER_BYTES_MAX: Final = 512 * 1024**2
AGE_UNLIMITED_S: Final = 0.0
DEADLETTER_AGE_MAX_S: Final = 90 * 86_400.0

ACK_WAIT_S: Final = 8.0
"""After it what a dead process held is delivered to another: within the 15 s in which a stack is whole again. A live
one asks for more time while it works (see ``consumer.py``)."""
ACK_PENDING_MAX: Final = 5_000
"""How many messages one consumer may hold unacknowledged: the bound on a service's memory and on redelivery."""

BUCKET_KEYS_BYTES_MAX: Final = 64 * 1024**2
BUCKET_REVOCATIONS_BYTES_MAX: Final = 64 * 1024**2
BUCKET_WORKSPACES_BYTES_MAX: Final = 512 * 1024**2
"""Some two million sessions of one period; full, it takes no new session, and nobody's decision is made without it."""
BUCKET_WORKSPACES_AGE_MAX_S: Final = 30 * 86_400.0
"""A session that lives longer is pinned anew."""
BUCKET_VALUE_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True)
class StreamSpec:
    """One stream. It refuses new messages when full rather than drop old ones that a consumer still needs.

    With interest retention a message leaves once every durable has acknowledged it, so the bound is on the backlog.
    """

    name: str
    subjects: tuple[str, ...]
    bytes_max: int
    retention: RetentionPolicy = RetentionPolicy.INTEREST
    age_max_s: float = AGE_UNLIMITED_S
    storage: StorageType = StorageType.FILE
    discard: DiscardPolicy = DiscardPolicy.NEW


@dataclass(frozen=True)
class ConsumerSpec:
    """One durable pull consumer, named after the service that owns it."""

    stream: str
    service: str
    filter_subjects: tuple[str, ...]
    ack_wait_s: float = ACK_WAIT_S
    ack_pending_max: int = ACK_PENDING_MAX


@dataclass(frozen=True)
class BucketSpec:
    """One key-value bucket, history of one."""

    name: str
    bytes_max: int
    value_bytes_max: int = BUCKET_VALUE_BYTES_MAX
    age_max_s: float = AGE_UNLIMITED_S


STREAMS: Final = (
    StreamSpec(subjects.STREAM_HOOKS, (subjects.SUBJECTS_HOOKS,), HOOKS_BYTES_MAX),
    StreamSpec(subjects.STREAM_SECURITY, (subjects.SUBJECTS_SECURITY,), SECURITY_BYTES_MAX),
    StreamSpec(
        subjects.STREAM_DEADLETTER,
        (subjects.SUBJECTS_DEADLETTER,),
        DEADLETTER_BYTES_MAX,
        retention=RetentionPolicy.LIMITS,
        age_max_s=DEADLETTER_AGE_MAX_S,
    ),
)

BUDGET_HOOKS: Final = ConsumerSpec(
    subjects.STREAM_HOOKS, "budget", (subjects.hook_subjects(Kind.POST_TASK), subjects.hook_subjects(Kind.USAGE))
)
"""What reports spending. A pre-task's estimate reaches the ledger by request, before the event is stored."""
SESSION_HOOKS: Final = ConsumerSpec(subjects.STREAM_HOOKS, "session", (subjects.SUBJECTS_HOOKS,))
SESSION_SECURITY: Final = ConsumerSpec(subjects.STREAM_SECURITY, "session", (subjects.SUBJECTS_SECURITY,))
AUDIT_HOOKS: Final = ConsumerSpec(subjects.STREAM_HOOKS, "audit", (subjects.SUBJECTS_HOOKS,))
AUDIT_SECURITY: Final = ConsumerSpec(subjects.STREAM_SECURITY, "audit", (subjects.SUBJECTS_SECURITY,))

CONSUMERS: Final = (BUDGET_HOOKS, SESSION_HOOKS, SESSION_SECURITY, AUDIT_HOOKS, AUDIT_SECURITY)

BUCKETS: Final = (
    BucketSpec(subjects.BUCKET_API_KEYS, BUCKET_KEYS_BYTES_MAX),
    BucketSpec(subjects.BUCKET_REVOCATIONS, BUCKET_REVOCATIONS_BYTES_MAX),
    BucketSpec(subjects.BUCKET_WORKSPACES, BUCKET_WORKSPACES_BYTES_MAX, age_max_s=BUCKET_WORKSPACES_AGE_MAX_S),
)
