"""A way to the model requests that are old enough to be forgotten."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX model_requests_age ON budget.model_requests (effective_at)")


def downgrade() -> None:
    op.execute("DROP INDEX budget.model_requests_age")
