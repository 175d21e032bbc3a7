"""A version of each session, so that one that only moves on is saved without being read and locked first.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_REFUSE = """
    CREATE FUNCTION session.refuse() RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a session was changed meanwhile' USING ERRCODE = 'serialization_failure';
    END
    $$
"""


def upgrade() -> None:
    op.execute("ALTER TABLE session.sessions ADD COLUMN version bigint NOT NULL DEFAULT 0")
    op.execute(_REFUSE)
    op.execute("REVOKE EXECUTE ON FUNCTION session.refuse() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION session.refuse() TO hookbus_session")


def downgrade() -> None:
    op.execute("DROP FUNCTION session.refuse()")
    op.execute("ALTER TABLE session.sessions DROP COLUMN version")
