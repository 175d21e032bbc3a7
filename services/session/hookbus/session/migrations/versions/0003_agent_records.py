"""Notes of agents, and the objections they met.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    """
    CREATE TABLE session.notes (
        event_id text PRIMARY KEY,
        agent_id text NOT NULL,
        agent_category text,
        project text,
        intent text,
        session_id text,
        at timestamptz NOT NULL,
        text text NOT NULL,
        words tsvector NOT NULL GENERATED ALWAYS AS (to_tsvector('simple', text)) STORED
    )
    """,
    "CREATE INDEX notes_newest ON session.notes (at DESC, event_id DESC)",
    "CREATE INDEX notes_newest_of_agent ON session.notes (agent_id, at DESC, event_id DESC)",
    "CREATE INDEX notes_newest_of_project ON session.notes (project, at DESC, event_id DESC)",
    "CREATE INDEX notes_words ON session.notes USING gin (words)",
    """
    CREATE TABLE session.objections (
        record_id text PRIMARY KEY,
        event_id text NOT NULL,
        agent_id text NOT NULL,
        session_id text,
        at timestamptz NOT NULL,
        decision text NOT NULL,
        code text NOT NULL,
        reason text NOT NULL,
        tool text
    )
    """,
    "CREATE INDEX objections_newest_of_agent ON session.objections (agent_id, at DESC, record_id DESC)",
    # Rows are written once; the oldest leave when an agent has too many, all of them with its erasure.
    "GRANT SELECT, INSERT, DELETE ON session.notes TO hookbus_session",
    "GRANT SELECT, INSERT, DELETE ON session.objections TO hookbus_session",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for name in ("objections", "notes"):
        op.execute(f"DROP TABLE session.{name}")
