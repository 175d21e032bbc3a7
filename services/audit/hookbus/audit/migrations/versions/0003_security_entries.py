"""An index of the entries of security events: few among many, and looked at newest first.

Revision ID: 0003
Revises: 0002
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX entry_lookup_security ON audit.entry_lookup (index) WHERE stream = 2")


def downgrade() -> None:
    op.execute("DROP INDEX audit.entry_lookup_security")
