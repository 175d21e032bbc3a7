"""Users, their sessions, failed logins, and the keys that sign access tokens.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE session.users (
        username text PRIMARY KEY CHECK (username ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
        role text NOT NULL CHECK (role IN ('admin', 'operator', 'auditor', 'viewer')),
        password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
        must_change_password boolean NOT NULL,
        epoch bigint NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL,
        created_by text NOT NULL,
        password_changed_at timestamptz,
        disabled_at timestamptz,
        totp_secret bytea,
        totp_pending bytea,
        totp_step bigint NOT NULL DEFAULT 0
    )
    """,
    """
    CREATE TABLE session.person_sessions (
        sid text PRIMARY KEY CHECK (sid ~ '^person-[0-9a-f]{32}$'),
        username text NOT NULL REFERENCES session.users (username),
        epoch bigint NOT NULL,
        generation bigint NOT NULL CHECK (generation > 0),
        current_sha256 text NOT NULL UNIQUE CHECK (current_sha256 ~ '^[0-9a-f]{64}$'),
        previous_sha256 text CHECK (previous_sha256 ~ '^[0-9a-f]{64}$'),
        salt bytea NOT NULL,
        rotated_at timestamptz NOT NULL,
        opened_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        ended_at timestamptz,
        end_reason text,
        address text NOT NULL,
        user_agent text NOT NULL,
        bucket_synced boolean NOT NULL DEFAULT false
    )
    """,
    "CREATE INDEX person_sessions_live ON session.person_sessions (username, opened_at) WHERE ended_at IS NULL",
    "CREATE INDEX person_sessions_unsynced ON session.person_sessions (sid) WHERE NOT bucket_synced",
    """
    CREATE TABLE session.login_attempts (
        name_sha256 text PRIMARY KEY CHECK (name_sha256 ~ '^[0-9a-f]{64}$'),
        failures bigint NOT NULL,
        failed_at timestamptz NOT NULL,
        locked_until timestamptz
    )
    """,
    "CREATE INDEX login_attempts_oldest ON session.login_attempts (failed_at)",
    """
    CREATE TABLE session.signing_keys (
        kid text PRIMARY KEY,
        public_x text NOT NULL,
        private_pem text NOT NULL CHECK (private_pem LIKE '-----BEGIN ENCRYPTED PRIVATE KEY-----%'),
        created_at timestamptz NOT NULL
    )
    """,
)

_GRANTS = (
    "GRANT SELECT, INSERT ON session.users TO hookbus_session",
    """
    GRANT UPDATE (role, password_hash, must_change_password, epoch, password_changed_at, disabled_at, totp_secret,
        totp_pending, totp_step) ON session.users TO hookbus_session
    """,
    "GRANT SELECT, INSERT ON session.person_sessions TO hookbus_session",
    # Whose a session is, when it began and when it ends at the latest are written once.
    """
    GRANT UPDATE (epoch, generation, current_sha256, previous_sha256, salt, rotated_at, ended_at, end_reason, address,
        user_agent, bucket_synced) ON session.person_sessions TO hookbus_session
    """,
    "GRANT SELECT, INSERT, UPDATE, DELETE ON session.login_attempts TO hookbus_session",
    "GRANT SELECT, INSERT, DELETE ON session.signing_keys TO hookbus_session",
)

_NAMES = ("signing_keys", "login_attempts", "person_sessions", "users")


def upgrade() -> None:
    for statement in (*_TABLES, *_GRANTS):
        op.execute(statement)


def downgrade() -> None:
    for name in _NAMES:
        op.execute(f"DROP TABLE session.{name}")
