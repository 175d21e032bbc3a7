"""Retention: partitions of any width, and the one way in which a partition can go.

Revision ID: 0002
Revises: 0001
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# PostgreSQL's own catalogue says which partition holds what: a table beside it could say something else.
_PARTITIONS = """
    CREATE VIEW audit.partitions AS
    SELECT c.relname AS name,
        (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \\(''(-?[0-9]+)''\\)'))[1]::bigint AS first_index,
        (regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \\(''(-?[0-9]+)''\\)'))[1]::bigint AS end_index
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'audit.stored_events'::regclass
"""

# Made beside the table and attached: that waits for no reader, where PARTITION OF would wait for each of them, and all
# appends behind it, for as long as a check of the whole log takes.
_ENSURE_PARTITIONS = """
    CREATE FUNCTION audit.ensure_partitions(last_index bigint, width bigint) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
    DECLARE
        size bigint := coalesce((SELECT s.size FROM audit.log_state s), 0);
        next bigint := coalesce((SELECT max(p.end_index) FROM audit.partitions p), 0);
        made integer := 0;
        name text;
    BEGIN
        IF width < 256 OR width > 16777216 OR width % 256 <> 0 THEN
            RAISE EXCEPTION 'a partition holds a multiple of 256 entries, 16777216 at most';
        END IF;
        -- A batch may be larger than a narrow partition.
        IF last_index > size + greatest(4 * width, 65536) THEN
            RAISE EXCEPTION 'partitions are made only a step ahead of the log';
        END IF;
        WHILE next <= last_index LOOP
            name := 'stored_events_from_' || next;
            EXECUTE format('CREATE TABLE audit.%I (LIKE audit.stored_events INCLUDING ALL)', name);
            EXECUTE format('ALTER TABLE audit.stored_events ATTACH PARTITION audit.%I FOR VALUES FROM (%s) TO (%s)',
                name, next, next + width);
            next := next + width;
            made := made + 1;
        END LOOP;
        RETURN made;
    END $$
"""

# The service's role can delete no entry. This drops the oldest partition for it, where the log itself holds the signed
# record that says so, and a signed checkpoint covers that record. It cannot check signatures: `audit verify` does.
_DROP_PRUNED = """
    CREATE FUNCTION audit.drop_pruned() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET lock_timeout = '1s' AS $$
    DECLARE
        oldest record;
    BEGIN
        SELECT p.name, p.end_index INTO oldest FROM audit.partitions p ORDER BY p.first_index LIMIT 1;
        IF oldest IS NULL OR NOT EXISTS (SELECT FROM audit.prunes p WHERE p.cut >= oldest.end_index) THEN
            RETURN NULL;
        END IF;
        IF NOT EXISTS (
            SELECT FROM audit.prunes p
            JOIN audit.stored_events e ON e.index = p.index AND e.index >= p.cut AND e.stream = 0
                AND e.event_id = 'prune-' || encode(sha256(convert_to(p.note, 'UTF8')), 'hex')
            WHERE p.cut >= oldest.end_index AND EXISTS (SELECT FROM audit.checkpoints c WHERE c.size > p.index)
        ) THEN
            RAISE EXCEPTION 'no entry of the log says that its first % entries are pruned', oldest.end_index;
        END IF;
        EXECUTE format('DROP TABLE audit.%I', oldest.name);
        RETURN oldest.end_index;
    END $$
"""

# The first revision made a partition of its own width. A log that holds nothing yet begins with one of its own choice.
_BEGIN_ANEW = """
    DO $$ BEGIN
        IF NOT EXISTS (SELECT FROM audit.stored_events) AND NOT EXISTS (SELECT FROM audit.log_state WHERE size > 0) THEN
            DROP TABLE IF EXISTS audit.stored_events_000000;
        END IF;
    END $$
"""

_STATEMENTS = (
    _PARTITIONS,
    _BEGIN_ANEW,
    "DROP FUNCTION audit.ensure_partitions(bigint)",
    _ENSURE_PARTITIONS,
    "ALTER TABLE audit.prunes ADD COLUMN index bigint NOT NULL",
    _DROP_PRUNED,
    "REVOKE ALL ON FUNCTION audit.ensure_partitions, audit.drop_pruned FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION audit.ensure_partitions, audit.drop_pruned TO hookbus_audit",
    "GRANT SELECT ON audit.partitions TO hookbus_audit",
)

_ENSURE_PARTITIONS_BEFORE = """
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


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    for statement in (
        "DROP FUNCTION audit.drop_pruned()",
        "DROP FUNCTION audit.ensure_partitions(bigint, bigint)",
        "DROP VIEW audit.partitions",
        "ALTER TABLE audit.prunes DROP COLUMN index",
        _ENSURE_PARTITIONS_BEFORE,
        "REVOKE ALL ON FUNCTION audit.ensure_partitions FROM PUBLIC",
        "GRANT EXECUTE ON FUNCTION audit.ensure_partitions TO hookbus_audit",
    ):
        op.execute(statement)
