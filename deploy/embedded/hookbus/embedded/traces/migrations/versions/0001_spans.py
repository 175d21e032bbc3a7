"""Traces and their spans.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE traces.traces (
        trace_id bytea PRIMARY KEY CHECK (octet_length(trace_id) = 16),
        event_id text,
        name text NOT NULL,
        started_at timestamptz NOT NULL,
        ended_at timestamptz NOT NULL,
        spans bigint NOT NULL,
        has_error boolean NOT NULL
    )
    """,
    "CREATE INDEX traces_newest ON traces.traces (started_at DESC, trace_id DESC)",
    """
    CREATE TABLE traces.spans (
        trace_id bytea NOT NULL REFERENCES traces.traces ON DELETE CASCADE,
        span_id bytea NOT NULL CHECK (octet_length(span_id) = 8),
        parent_span_id bytea CHECK (octet_length(parent_span_id) = 8),
        service text NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        started_at timestamptz NOT NULL,
        duration_us bigint NOT NULL CHECK (duration_us >= 0),
        status text NOT NULL,
        status_message text NOT NULL,
        event_id text,
        attributes jsonb NOT NULL,
        PRIMARY KEY (trace_id, span_id)
    )
    """,
    "CREATE INDEX spans_event ON traces.spans (event_id, started_at DESC) WHERE event_id IS NOT NULL",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON traces.traces TO hookbus_traces",
    "GRANT SELECT, INSERT, DELETE ON traces.spans TO hookbus_traces",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE traces.spans")
    op.execute("DROP TABLE traces.traces")
