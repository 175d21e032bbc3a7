"""What traces are looked for by: their agent and the decision in them.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE traces.traces ADD COLUMN agent_id text, ADD COLUMN decision text",
    """
    UPDATE traces.traces SET agent_id = found.agent_id, decision = found.decision
    FROM (SELECT trace_id, min(attributes ->> 'hookbus.agent_id') AS agent_id,
            min(attributes ->> 'hookbus.decision') AS decision FROM traces.spans GROUP BY trace_id) AS found
    WHERE found.trace_id = traces.traces.trace_id
    """,
    "CREATE INDEX traces_of_agent ON traces.traces (agent_id, started_at DESC, trace_id DESC)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX traces.traces_of_agent")
    op.execute("ALTER TABLE traces.traces DROP COLUMN agent_id, DROP COLUMN decision")
