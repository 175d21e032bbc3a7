"""Who may say what on the bus: the users of nats-server and the subjects of each, no wider than its work."""

from dataclasses import dataclass
from typing import Final

from hookbus.contracts import subjects

SERVICES: Final = ("budget", "session", "audit")
"""The services that consume events: each has a durable consumer of its own name."""

PROVISION_USER: Final = "provision"
"""Who creates, saves and restores streams, and asks for the first API keys and the first administrator."""

USERS: Final = ("gateway", *SERVICES, "traces", PROVISION_USER)

DURABLES: Final[dict[str, tuple[str, ...]]] = {
    "budget": (subjects.STREAM_HOOKS,),
    "session": (subjects.STREAM_HOOKS, subjects.STREAM_SECURITY),
    "audit": (subjects.STREAM_HOOKS, subjects.STREAM_SECURITY),
}
"""The streams on which a service has its durable consumer."""

REPLIES_MAX: Final = 1
REPLY_WINDOW: Final = "1m"
"""A responder may publish on the reply subject of a request it received: once, and within this time."""


@dataclass(frozen=True)
class Permissions:
    """Subjects a user may publish on and subscribe to; all others are refused by the server."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def permissions_of(user: str) -> Permissions:
    """The permissions of one of ``USERS``."""
    own_inbox = f"{subjects.inbox_prefix(user)}.>"
    if user == PROVISION_USER:
        first = (subjects.rpc_subject("session", "key_create"), subjects.rpc_subject("session", "user_bootstrap"))
        # A snapshot is answered chunk by chunk, and given back the same way.
        chunks = ("$JS.SNAPSHOT.ACK.>", "$JS.SNAPSHOT.RESTORE.>")
        return Permissions(publish=("$JS.API.>", *chunks, *first), subscribe=(own_inbox,))
    if user == "gateway":
        return Permissions(
            publish=(
                subjects.SUBJECTS_HOOKS,
                subjects.SUBJECTS_SECURITY,
                "rpc.>",
                *_stream_reading(subjects.STREAM_HOOKS),
                *_stream_reading(subjects.STREAM_SECURITY),
                *_stream_reading(subjects.STREAM_DEADLETTER),
                f"$JS.API.DIRECT.GET.{subjects.STREAM_DEADLETTER}",
                f"$JS.API.STREAM.MSG.DELETE.{subjects.STREAM_DEADLETTER}",
                *(
                    f"$JS.API.CONSUMER.INFO.{stream}.{service}"
                    for service, streams in DURABLES.items()
                    for stream in streams
                ),
                *_bucket_reading(subjects.BUCKET_API_KEYS),
                *_bucket_reading(subjects.BUCKET_REVOCATIONS),
                *_bucket_reading(subjects.BUCKET_WORKSPACES),
                f"$KV.{subjects.BUCKET_WORKSPACES}.>",
            ),
            # Events as they happen, for whoever watches: plain subscriptions, which hold nothing back on the bus.
            subscribe=(own_inbox, subjects.SUBJECTS_HOOKS, subjects.SUBJECTS_SECURITY),
        )
    if user == "traces":
        return Permissions(publish=(), subscribe=(own_inbox, _requests_of(user)))
    publish = [
        subjects.SUBJECTS_SECURITY,
        subjects.deadletter_subject(user),
        *(subject for stream in DURABLES[user] for subject in _consuming(stream, user)),
    ]
    if user == "session":
        for bucket in (subjects.BUCKET_API_KEYS, subjects.BUCKET_REVOCATIONS):
            publish += [f"$KV.{bucket}.>", *_bucket_reading(bucket)]
    return Permissions(publish=tuple(publish), subscribe=(own_inbox, _requests_of(user)))


def _requests_of(service: str) -> str:
    return f"rpc.{service}.>"


def _stream_reading(stream: str) -> tuple[str, ...]:
    return (f"$JS.API.STREAM.INFO.{stream}",)


def _consuming(stream: str, durable: str) -> tuple[str, ...]:
    return (
        *_stream_reading(stream),
        f"$JS.API.CONSUMER.INFO.{stream}.{durable}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}",
        f"$JS.ACK.{stream}.{durable}.>",
    )


def _bucket_reading(bucket: str) -> tuple[str, ...]:
    stream = f"KV_{bucket}"
    return (
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.DIRECT.GET.{stream}.$KV.{bucket}.>",
        # The same read where the bucket has no direct get: the key travels in the body.
        f"$JS.API.STREAM.MSG.GET.{stream}",
    )
