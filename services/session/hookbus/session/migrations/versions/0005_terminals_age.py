"""Terminals are forgotten with age, and with their agent.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX terminals_oldest ON session.terminals (opened_at)")
    op.execute("GRANT DELETE ON session.terminals, session.terminal_output TO hookbus_session")


def downgrade() -> None:
    op.execute("REVOKE DELETE ON session.terminals, session.terminal_output FROM hookbus_session")
    op.execute("DROP INDEX session.terminals_oldest")
