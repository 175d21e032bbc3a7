"""How many subagents a session started, and a way to the rows that hold both a reported and a computed cost."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE budget.balances ADD COLUMN subagents integer NOT NULL DEFAULT 0")
    op.execute(
        "CREATE INDEX budget_history_drift ON budget.budget_history (at)"
        " WHERE reported_usd_micros IS NOT NULL AND computed_usd_micros IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP INDEX budget.budget_history_drift")
    op.execute("ALTER TABLE budget.balances DROP COLUMN subagents")
