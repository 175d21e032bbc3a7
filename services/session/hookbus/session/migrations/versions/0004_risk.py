"""Evidence against people's sessions, every assessment that was made, the pace of agents, counted events that age.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UP = (
    "ALTER TABLE session.sessions ADD COLUMN baseline_network text",
    "ALTER TABLE session.sessions ADD COLUMN pace jsonb NOT NULL DEFAULT '{}'",
    """
    ALTER TABLE session.person_sessions
        ADD COLUMN user_agent_family text NOT NULL DEFAULT '',
        ADD COLUMN header_names text[] NOT NULL DEFAULT '{}',
        ADD COLUMN last_address text NOT NULL DEFAULT '',
        ADD COLUMN last_seen_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN place_name text,
        ADD COLUMN place_latitude double precision CHECK (place_latitude BETWEEN -90 AND 90),
        ADD COLUMN place_longitude double precision CHECK (place_longitude BETWEEN -180 AND 180),
        ADD COLUMN placed_at timestamptz,
        ADD COLUMN pace jsonb NOT NULL DEFAULT '{}',
        ADD COLUMN risk double precision NOT NULL DEFAULT 0.01 CHECK (risk BETWEEN 0 AND 1),
        ADD COLUMN confirm_since timestamptz,
        ADD COLUMN ended_by text
    """,
    "CREATE INDEX person_sessions_newest ON session.person_sessions (last_seen_at DESC, sid DESC)",
    "CREATE INDEX person_sessions_placed ON session.person_sessions (username, placed_at DESC)",
    """
    CREATE TABLE session.person_signals (
        session_id text NOT NULL REFERENCES session.person_sessions (sid),
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
    CREATE TABLE session.risk_assessments (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        assessed_at timestamptz NOT NULL,
        session_id text NOT NULL,
        subject text NOT NULL,
        risk double precision NOT NULL CHECK (risk BETWEEN 0 AND 1),
        level text NOT NULL CHECK (level IN ('none', 'flag', 'ask', 'kill')),
        signals jsonb NOT NULL
    )
    """,
    "CREATE INDEX risk_assessments_of_session ON session.risk_assessments (session_id, id DESC)",
    "CREATE INDEX risk_assessments_oldest ON session.risk_assessments (assessed_at)",
    # Rows from before this migration are kept as if their events bore the time they were counted at.
    "ALTER TABLE session.counted_events ADD COLUMN kept_until timestamptz",
    "UPDATE session.counted_events SET kept_until = counted_at + interval '90 days'",
    "ALTER TABLE session.counted_events ALTER COLUMN kept_until SET DEFAULT now() + interval '90 days'",
    "ALTER TABLE session.counted_events ALTER COLUMN kept_until SET NOT NULL",
    "CREATE INDEX counted_events_oldest ON session.counted_events (kept_until)",
)

_GRANTS = (
    """
    GRANT UPDATE (user_agent_family, header_names, last_address, last_seen_at, place_name, place_latitude,
        place_longitude, placed_at, pace, risk, confirm_since, ended_by) ON session.person_sessions TO hookbus_session
    """,
    "GRANT SELECT, INSERT, UPDATE ON session.person_signals TO hookbus_session",
    # What was assessed is written once; old rows leave.
    "GRANT SELECT, INSERT, DELETE ON session.risk_assessments TO hookbus_session",
    # An id leaves when its time is over and not before: the role could make an event count twice.
    "GRANT DELETE ON session.counted_events TO hookbus_session",
    "ALTER TABLE session.counted_events ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY counted_read ON session.counted_events FOR SELECT TO hookbus_session USING (true)",
    "CREATE POLICY counted_write ON session.counted_events FOR INSERT TO hookbus_session WITH CHECK (true)",
    "CREATE POLICY counted_forget ON session.counted_events FOR DELETE TO hookbus_session USING (kept_until < now())",
)

_DOWN = (
    "ALTER TABLE session.counted_events DISABLE ROW LEVEL SECURITY",
    *(f"DROP POLICY counted_{name} ON session.counted_events" for name in ("forget", "write", "read")),
    "REVOKE DELETE ON session.counted_events FROM hookbus_session",
    "DROP INDEX session.counted_events_oldest",
    "ALTER TABLE session.counted_events DROP COLUMN kept_until",
    "DROP TABLE session.risk_assessments",
    "DROP TABLE session.person_signals",
    "DROP INDEX session.person_sessions_placed",
    "DROP INDEX session.person_sessions_newest",
    """
    ALTER TABLE session.person_sessions
        DROP COLUMN user_agent_family, DROP COLUMN header_names, DROP COLUMN last_address, DROP COLUMN last_seen_at,
        DROP COLUMN place_name,
        DROP COLUMN place_latitude, DROP COLUMN place_longitude, DROP COLUMN placed_at, DROP COLUMN pace,
        DROP COLUMN risk, DROP COLUMN confirm_since, DROP COLUMN ended_by
    """,
    "ALTER TABLE session.sessions DROP COLUMN pace, DROP COLUMN baseline_network",
)


def upgrade() -> None:
    for statement in (*_UP, *_GRANTS):
        op.execute(statement)


def downgrade() -> None:
    for statement in _DOWN:
        op.execute(statement)
