"""A subagent that was counted as started says so itself, for limits set on its account may date it before that; and a
way to its rows."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "UPDATE budget.balances b SET subagents = 1 FROM budget.accounts a"
        " WHERE a.id = b.account_id AND a.kind = 'subagent' AND b.last_at_us > 0"
    )
    op.execute(
        "CREATE INDEX budget_history_subagent ON budget.budget_history (subagent_account, id)"
        " WHERE subagent_account IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("DROP INDEX budget.budget_history_subagent")
    op.execute(
        "UPDATE budget.balances b SET subagents = 0 FROM budget.accounts a"
        " WHERE a.id = b.account_id AND a.kind = 'subagent'"
    )
