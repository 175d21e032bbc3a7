"""The log: entries, their search rows, tiles, checkpoints, keys, and the one row of state.

Revision ID: 0001
Revises:
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    """
    CREATE TABLE audit.log_state (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        log_id bytea NOT NULL CHECK (length(log_id) = 16),
        origin text NOT NULL,
        size bigint NOT NULL CHECK (size >= 0),
        frontier bytea NOT NULL,
        last_time_us bigint NOT NULL,
        epoch bigint NOT NULL,
        lease_until timestamptz NOT NULL,
        latest_note text
    )
    """,
    # No unique key besides the place: a partitioned table cannot hold one over all partitions. entry_lookup does.
    """
    CREATE TABLE audit.stored_events (
        index bigint NOT NULL CHECK (index >= 0),
        stream smallint NOT NULL,
        event_id text NOT NULL,
        time timestamptz NOT NULL,
        key_id bytea NOT NULL,
        leaf_hash bytea NOT NULL,
        record bytea NOT NULL,
        detached bytea,
        PRIMARY KEY (index)
    ) PARTITION BY RANGE (index)
    """,
    # Ciphertext does not compress; trying costs time at each insert.
    "ALTER TABLE audit.stored_events ALTER record SET STORAGE EXTERNAL, ALTER detached SET STORAGE EXTERNAL",
    """
    CREATE TABLE audit.entry_lookup (
        index bigint PRIMARY KEY,
        stream smallint NOT NULL,
        event_id text NOT NULL,
        kind text NOT NULL,
        outcome text,
        agent bytea,
        session bytea,
        project bytea,
        UNIQUE (event_id, stream)
    )
    """,
    "CREATE INDEX entry_lookup_agent ON audit.entry_lookup (agent, index) WHERE agent IS NOT NULL",
    "CREATE INDEX entry_lookup_session ON audit.entry_lookup (session, index) WHERE session IS NOT NULL",
    """
    CREATE TABLE audit.tiles (
        level smallint NOT NULL,
        number bigint NOT NULL,
        hashes bytea NOT NULL CHECK (length(hashes) = 8192),
        root bytea NOT NULL CHECK (length(root) = 32),
        PRIMARY KEY (level, number)
    )
    """,
    "ALTER TABLE audit.tiles ALTER hashes SET STORAGE EXTERNAL",
    """
    CREATE TABLE audit.checkpoints (
        size bigint PRIMARY KEY,
        root bytea NOT NULL,
        note text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE audit.key_handovers (
        number integer PRIMARY KEY,
        note text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE audit.cosignatures (
        size bigint NOT NULL REFERENCES audit.checkpoints (size),
        name text NOT NULL,
        line text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (size, name)
    )
    """,
    """
    CREATE TABLE audit.prunes (
        cut bigint PRIMARY KEY,
        note text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE audit.key_encryption_keys (
        kek_id integer PRIMARY KEY,
        kdf text NOT NULL,
        iterations integer NOT NULL,
        salt bytea NOT NULL,
        check_value bytea NOT NULL,
        search_key_wrapped bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE audit.data_keys (
        key_id bytea PRIMARY KEY,
        kek_id integer NOT NULL REFERENCES audit.key_encryption_keys (kek_id),
        subject bytea NOT NULL,
        period text NOT NULL,
        wrapped bytea NOT NULL,
        commitment bytea NOT NULL,
        entries bigint NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "CREATE INDEX data_keys_subject ON audit.data_keys (subject, period)",
)

# The service's role may not create tables. This lets it ask for the next partitions, a bounded step ahead.
_ENSURE_PARTITIONS = """
    CREATE FUNCTION audit.ensure_partitions(last_index bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
    DECLARE
        width CONSTANT bigint := 1048576;
        first bigint := coalesce((SELECT size FROM audit.log_state), 0) / width;
        made integer := 0;
        name text;
    BEGIN
        IF last_index / width > first + 4 THEN
            RAISE EXCEPTION 'partitions are made at most 4 ahead of the log';
        END IF;
        FOR number IN first .. last_index / width LOOP
            name := 'stored_events_' || lpad(number::text, 6, '0');
            IF to_regclass('audit.' || name) IS NULL THEN
                EXECUTE format('CREATE TABLE audit.%I PARTITION OF audit.stored_events FOR VALUES FROM (%s) TO (%s)',
                    name, number * width, (number + 1) * width);
                made := made + 1;
            END IF;
        END LOOP;
        RETURN made;
    END $$
"""

# Entries, tiles and checkpoints: read and added to, never changed, never deleted.
_GRANTS = (
    "REVOKE ALL ON FUNCTION audit.ensure_partitions FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION audit.ensure_partitions TO hookbus_audit",
    "GRANT SELECT, INSERT ON audit.stored_events, audit.tiles, audit.checkpoints TO hookbus_audit",
    "GRANT SELECT, INSERT ON audit.key_handovers, audit.cosignatures, audit.prunes TO hookbus_audit",
    """
    GRANT SELECT, INSERT, UPDATE (size, frontier, last_time_us, epoch, lease_until, latest_note)
    ON audit.log_state TO hookbus_audit
    """,
    "GRANT SELECT, INSERT, UPDATE (agent, session, project) ON audit.entry_lookup TO hookbus_audit",
    "GRANT SELECT, INSERT ON audit.key_encryption_keys TO hookbus_audit",
    "GRANT SELECT, INSERT, DELETE, UPDATE (kek_id, wrapped, entries) ON audit.data_keys TO hookbus_audit",
)


def upgrade() -> None:
    for statement in (*_TABLES, _ENSURE_PARTITIONS, "SELECT audit.ensure_partitions(0)", *_GRANTS):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION audit.ensure_partitions")
    for table in (
        "data_keys",
        "key_encryption_keys",
        "cosignatures",
        "prunes",
        "key_handovers",
        "checkpoints",
        "tiles",
        "entry_lookup",
        "stored_events",
        "log_state",
    ):
        op.execute(f"DROP TABLE audit.{table}")
