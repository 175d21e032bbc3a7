"""Streams, subjects, durable consumers, key-value buckets and headers of the bus."""

from typing import Final

from hookbus.contracts.events import Kind

STREAM_HOOKS: Final = "HOOKS"
STREAM_SECURITY: Final = "SECURITY"
STREAM_DEADLETTER: Final = "DEADLETTER"

SUBJECTS_HOOKS: Final = "hooks.>"
SUBJECTS_SECURITY: Final = "security.>"
SUBJECTS_DEADLETTER: Final = "deadletter.>"

BUCKET_API_KEYS: Final = "api_keys"
"""Key id -> :class:`hookbus.contracts.session.ApiKeyRecord`. Written by session, read by the gateway."""

BUCKET_REVOCATIONS: Final = "revocations"
"""Session id of a person -> :class:`hookbus.contracts.people.PersonSessionRecord`: live or ended. Written by session,
read by the gateway."""

BUCKET_WORKSPACES: Final = "workspaces"
"""SHA-256 of a session's id -> :class:`hookbus.contracts.workspaces.WorkspaceRecord`. The gateway's own."""

HEADER_MSG_ID: Final = "Nats-Msg-Id"
HEADER_TRACEPARENT: Final = "traceparent"
HEADER_CONTENT_TYPE: Final = "content-type"
HEADER_SERVICE_ERROR: Final = "Nats-Service-Error"
HEADER_SERVICE_ERROR_CODE: Final = "Nats-Service-Error-Code"
"""Set on an RPC reply whose body is a Problem; the names are those of the NATS services API (ADR-32)."""

HEADER_DEADLETTER_SUBJECT: Final = "Hookbus-Original-Subject"
HEADER_DEADLETTER_STREAM: Final = "Hookbus-Original-Stream"
HEADER_DEADLETTER_SEQUENCE: Final = "Hookbus-Original-Sequence"
HEADER_DEADLETTER_REASON: Final = "Hookbus-Reason"


def hook_subject(kind: Kind, agent_id: str) -> str:
    """Where a hook event is published: ``hooks.<kind>.<agent_id>``."""
    return f"hooks.{kind}.{agent_id}"


def hook_subjects(kind: Kind) -> str:
    """What matches the hook events of one kind, of any agent."""
    return f"hooks.{kind}.*"


def security_subject(code: str) -> str:
    """Where a security event is published: ``security.<code>``."""
    return f"security.{code}"


def deadletter_subject(service: str) -> str:
    """Where a service puts what it cannot process: ``deadletter.<service>``."""
    return f"deadletter.{service}"


def subject_template(subject: str) -> str:
    """A subject without what varies by agent, as telemetry names it: ``hooks.pre-task.*``."""
    first, _, rest = subject.partition(".")
    return f"{first}.{rest.partition('.')[0]}.*" if first == "hooks" else subject


def rpc_subject(service: str, method: str) -> str:
    """Where a service answers requests: ``rpc.<service>.<method>``."""
    return f"rpc.{service}.{method}"


def inbox_prefix(user: str) -> str:
    """Where replies to one user's requests arrive: its subject permissions let no other user listen there."""
    return f"_INBOX_{user}"
