"""API keys, sessions with their evidence, terminals, counted events, outbox.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE session.api_keys (
        key_id text PRIMARY KEY CHECK (key_id ~ '^[a-z0-9]{12}$'),
        name text NOT NULL,
        secret_sha256 text NOT NULL UNIQUE CHECK (secret_sha256 ~ '^[0-9a-f]{64}$'),
        scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
        created_at timestamptz NOT NULL,
        created_by text NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz,
        revoked_by text,
        bucket_synced boolean NOT NULL DEFAULT false
    )
    """,
    "CREATE INDEX api_keys_newest ON session.api_keys (created_at DESC, key_id DESC)",
    "CREATE INDEX api_keys_unsynced ON session.api_keys (key_id) WHERE NOT bucket_synced",
    """
    CREATE TABLE session.sessions (
        id text PRIMARY KEY,
        agent_id text NOT NULL,
        project text,
        state text NOT NULL GENERATED ALWAYS AS (
            CASE
                WHEN killed_at IS NOT NULL THEN 'killed'
                WHEN ended_at IS NOT NULL AND (active_at IS NULL OR active_at <= ended_at) THEN 'ended'
                ELSE 'active'
            END
        ) STORED,
        risk double precision NOT NULL CHECK (risk BETWEEN 0 AND 1),
        baseline_host text,
        baseline_user text,
        baseline_agent_version text,
        opened_at timestamptz NOT NULL,
        last_seen_at timestamptz NOT NULL,
        events bigint NOT NULL DEFAULT 0 CHECK (events >= 0),
        active_at timestamptz,
        ended_at timestamptz,
        killed_at timestamptz,
        killed_by text,
        kill_reason text
    )
    """,
    "CREATE INDEX sessions_newest ON session.sessions (last_seen_at DESC, id DESC)",
    "CREATE INDEX sessions_newest_of_agent ON session.sessions (agent_id, last_seen_at DESC, id DESC)",
    """
    CREATE TABLE session.assessments (
        session_id text NOT NULL REFERENCES session.sessions (id),
        code text NOT NULL,
        key text NOT NULL,
        weight double precision NOT NULL,
        evidence text NOT NULL,
        words text NOT NULL,
        occurrences integer NOT NULL CHECK (occurrences > 0),
        seen_at timestamptz NOT NULL,
        cleared_at timestamptz,
        PRIMARY KEY (session_id, code, key)
    )
    """,
    """
    CREATE TABLE session.counted_events (
        stream text NOT NULL,
        event_id text NOT NULL,
        counted_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (stream, event_id)
    )
    """,
    """
    CREATE TABLE session.terminals (
        agent_id text NOT NULL,
        id text NOT NULL,
        session_id text,
        shell text,
        cwd text,
        opened_at timestamptz NOT NULL,
        closed_at timestamptz,
        exit_code bigint,
        output_bytes bigint NOT NULL DEFAULT 0,
        truncated boolean NOT NULL DEFAULT false,
        PRIMARY KEY (agent_id, id)
    )
    """,
    "CREATE INDEX terminals_of_session ON session.terminals (session_id, opened_at)",
    """
    CREATE TABLE session.terminal_output (
        event_id text PRIMARY KEY,
        agent_id text NOT NULL,
        terminal_id text NOT NULL,
        sequence bigint NOT NULL,
        stream text NOT NULL,
        text text NOT NULL,
        at timestamptz NOT NULL,
        FOREIGN KEY (agent_id, terminal_id) REFERENCES session.terminals (agent_id, id)
    )
    """,
    "CREATE INDEX terminal_output_in_order ON session.terminal_output (agent_id, terminal_id, sequence)",
    """
    CREATE TABLE session.outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subject text NOT NULL,
        body bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)

_GRANTS = (
    # A key's hash, scopes and life are written once: the service role may only revoke it.
    "GRANT SELECT, INSERT ON session.api_keys TO hookbus_session",
    "GRANT UPDATE (revoked_at, revoked_by, bucket_synced) ON session.api_keys TO hookbus_session",
    "GRANT SELECT, INSERT, UPDATE ON session.sessions TO hookbus_session",
    "GRANT SELECT, INSERT, UPDATE ON session.assessments TO hookbus_session",
    "GRANT SELECT, INSERT ON session.counted_events TO hookbus_session",
    "GRANT SELECT, INSERT, UPDATE ON session.terminals TO hookbus_session",
    "GRANT SELECT, INSERT ON session.terminal_output TO hookbus_session",
    # Locking a row of the queue takes UPDATE; a published row leaves.
    "GRANT SELECT, INSERT, UPDATE (created_at), DELETE ON session.outbox TO hookbus_session",
)

_NAMES = ("outbox", "terminal_output", "terminals", "counted_events", "assessments", "sessions", "api_keys")


def upgrade() -> None:
    for statement in (*_TABLES, *_GRANTS):
        op.execute(statement)


def downgrade() -> None:
    for name in _NAMES:
        op.execute(f"DROP TABLE session.{name}")
