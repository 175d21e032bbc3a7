"""The account tree, the append-only ledger, and what is derived from it."""

from typing import Final

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ACCOUNT_KINDS: Final = "'subagent', 'session', 'agent', 'project', 'team', 'global'"

STATEMENTS: Final = (
    f"""
    CREATE TABLE budget.accounts (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind text NOT NULL CHECK (kind IN ({ACCOUNT_KINDS})),
        name text NOT NULL,
        parent_id bigint REFERENCES budget.accounts (id),
        warn_at double precision[] NOT NULL DEFAULT '{{0.75,0.95}}',
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL DEFAULT '',
        UNIQUE (kind, name)
    )
    """,
    "CREATE INDEX accounts_parent ON budget.accounts (parent_id, id)",
    """
    CREATE TABLE budget.projects (
        name text PRIMARY KEY,
        account_id bigint NOT NULL UNIQUE REFERENCES budget.accounts (id),
        description text NOT NULL DEFAULT '',
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE budget.limits (
        account_id bigint NOT NULL REFERENCES budget.accounts (id),
        unit text NOT NULL CHECK (unit IN ('tokens', 'usd')),
        period text NOT NULL CHECK (period IN ('operation', 'hour', 'day', 'week', 'month', 'session', 'total')),
        amount bigint NOT NULL CHECK (amount >= 0),
        mode text NOT NULL CHECK (mode IN ('block', 'ask', 'warn')),
        PRIMARY KEY (account_id, unit, period)
    )
    """,
    # The row that is locked: whoever changes an account's balance, limits or parent locks it first, in order of id.
    # starts_us and spent are lists in the order (hour, day, week, month, total) x (tokens, micro-dollars); moments are
    # microseconds since the epoch. No index names a column that changes, so updates stay within the page.
    """
    CREATE TABLE budget.balances (
        account_id bigint PRIMARY KEY REFERENCES budget.accounts (id),
        config_version bigint NOT NULL DEFAULT 1,
        last_at_us bigint NOT NULL DEFAULT 0,
        held_tokens bigint NOT NULL DEFAULT 0,
        held_usd_micros bigint NOT NULL DEFAULT 0,
        starts_us bigint[] NOT NULL DEFAULT '{0,0,0,0,0,0,0,0,0,0}' CHECK (cardinality(starts_us) = 10),
        spent bigint[] NOT NULL DEFAULT '{0,0,0,0,0,0,0,0,0,0}' CHECK (cardinality(spent) = 10)
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000)
    """,
    # The truth. Account columns name the chain a row counts in (the global account is in all); they are not foreign
    # keys, for the rows are written in bulk by the one service that makes the accounts and never deletes one.
    """
    CREATE TABLE budget.budget_history (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at timestamptz NOT NULL,
        effective_at timestamptz NOT NULL,
        operation text NOT NULL CHECK (operation IN ('reserve', 'extend', 'settle', 'release', 'expire', 'charge',
            'correct', 'limits', 'reset')),
        agent_id text,
        account_id bigint,
        agent_account bigint,
        project_account bigint,
        team_account bigint,
        session_account bigint,
        subagent_account bigint,
        tokens bigint NOT NULL DEFAULT 0,
        usd_micros bigint NOT NULL DEFAULT 0,
        usd numeric GENERATED ALWAYS AS (usd_micros * 0.000001) VIRTUAL,
        held_tokens bigint NOT NULL DEFAULT 0,
        held_usd_micros bigint NOT NULL DEFAULT 0,
        dedupe_key text,
        event_id text,
        reservation uuid,
        request_id text,
        fingerprint bytea,
        model text,
        price_version text,
        source text,
        reported_usd_micros bigint,
        computed_usd_micros bigint,
        actor text,
        detail jsonb
    )
    """,
    "COMMENT ON COLUMN budget.budget_history.account_id IS 'the account a limits or reset row is about'",
    "CREATE UNIQUE INDEX budget_history_dedupe ON budget.budget_history (dedupe_key) WHERE dedupe_key IS NOT NULL",
    "CREATE INDEX budget_history_agent ON budget.budget_history (agent_account, id) WHERE agent_account IS NOT NULL",
    (
        "CREATE INDEX budget_history_project ON budget.budget_history (project_account, id)"
        " WHERE project_account IS NOT NULL"
    ),
    "CREATE INDEX budget_history_team ON budget.budget_history (team_account, id) WHERE team_account IS NOT NULL",
    (
        "CREATE INDEX budget_history_session ON budget.budget_history (session_account, id)"
        " WHERE session_account IS NOT NULL"
    ),
    "CREATE INDEX budget_history_account ON budget.budget_history (account_id, id) WHERE account_id IS NOT NULL",
    """
    CREATE TABLE budget.holds (
        id uuid PRIMARY KEY,
        state text NOT NULL CHECK (state IN ('open', 'settled', 'released', 'expired', 'early')),
        agent_account bigint NOT NULL,
        project_account bigint,
        team_account bigint,
        session_account bigint,
        subagent_account bigint,
        tokens bigint NOT NULL,
        usd_micros bigint NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        operation_id text,
        tool text
    )
    """,
    "CREATE INDEX holds_due ON budget.holds (expires_at) WHERE state = 'open'",
    "CREATE INDEX holds_closed ON budget.holds (expires_at) WHERE state <> 'open'",
    "CREATE INDEX holds_operation ON budget.holds (agent_account, operation_id) WHERE operation_id IS NOT NULL",
    "CREATE INDEX holds_open_by_agent ON budget.holds (agent_account) WHERE state = 'open'",
    """
    CREATE TABLE budget.recent_operations (
        agent_account bigint NOT NULL,
        tool text NOT NULL,
        tokens bigint[] NOT NULL,
        usd_micros bigint[] NOT NULL,
        PRIMARY KEY (agent_account, tool)
    )
    """,
    """
    CREATE TABLE budget.model_requests (
        agent_account bigint NOT NULL,
        request_id text NOT NULL,
        rank smallint NOT NULL,
        tokens bigint NOT NULL,
        usd_micros bigint NOT NULL,
        project_account bigint,
        team_account bigint,
        session_account bigint,
        subagent_account bigint,
        effective_at timestamptz NOT NULL,
        PRIMARY KEY (agent_account, request_id)
    )
    """,
    """
    CREATE TABLE budget.outbox (
        event_id text PRIMARY KEY,
        subject text NOT NULL,
        event jsonb NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        published_at timestamptz
    )
    """,
    "CREATE INDEX outbox_waiting ON budget.outbox (created_at) WHERE published_at IS NULL",
    "CREATE INDEX outbox_done ON budget.outbox (published_at) WHERE published_at IS NOT NULL",
    "INSERT INTO budget.accounts (id, kind, name) OVERRIDING SYSTEM VALUE VALUES (1, 'global', 'global')",
    "ALTER TABLE budget.accounts ALTER COLUMN id RESTART WITH 2",
    "INSERT INTO budget.balances (account_id) VALUES (1)",
    "GRANT SELECT, INSERT, UPDATE ON budget.accounts, budget.projects, budget.balances TO hookbus_budget",
    "GRANT SELECT, INSERT ON budget.budget_history TO hookbus_budget",
    (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON budget.limits, budget.holds, budget.recent_operations,"
        " budget.model_requests, budget.outbox TO hookbus_budget"
    ),
)

TABLES: Final = (
    "outbox",
    "model_requests",
    "recent_operations",
    "holds",
    "budget_history",
    "balances",
    "limits",
    "projects",
    "accounts",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"DROP TABLE budget.{table}")
