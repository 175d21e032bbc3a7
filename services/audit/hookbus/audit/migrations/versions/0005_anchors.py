"""How far each anchor and witness is: what any process can tell, and what outlives the one that appends.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in (
        """
        CREATE TABLE audit.anchors (
            kind text NOT NULL,
            name text NOT NULL,
            size bigint NOT NULL DEFAULT 0,
            reached_at timestamptz,
            fault text,
            fault_at timestamptz,
            PRIMARY KEY (kind, name)
        )
        """,
        # Proves nothing and is no part of the log: whoever checks asks the anchors themselves.
        "GRANT SELECT, INSERT, UPDATE, DELETE ON audit.anchors TO hookbus_audit",
    ):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE audit.anchors")
