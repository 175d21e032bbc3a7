"""Wrapped keys lie in a file of their own: the database keeps the list of them. The service moves what is there.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for statement in (
        "ALTER TABLE audit.data_keys DROP CONSTRAINT data_keys_kek_id_fkey",
        "ALTER TABLE audit.data_keys ALTER kek_id DROP NOT NULL, ALTER wrapped DROP NOT NULL",
        # The service takes the keys over at its next start and empties both tables of them.
        "GRANT DELETE ON audit.key_encryption_keys TO hookbus_audit",
        "CREATE INDEX entry_lookup_erased ON audit.entry_lookup (index) WHERE kind = 'audit.erased'",
    ):
        op.execute(statement)


def downgrade() -> None:
    # Keys that the service has taken over stay in their file: entries under them cannot be read by the version before.
    for statement in (
        "DROP INDEX audit.entry_lookup_erased",
        "REVOKE DELETE ON audit.key_encryption_keys FROM hookbus_audit",
        "DELETE FROM audit.data_keys WHERE wrapped IS NULL",
        "ALTER TABLE audit.data_keys ALTER kek_id SET NOT NULL, ALTER wrapped SET NOT NULL",
        """
        ALTER TABLE audit.data_keys ADD CONSTRAINT data_keys_kek_id_fkey
        FOREIGN KEY (kek_id) REFERENCES audit.key_encryption_keys (kek_id)
        """,
    ):
        op.execute(statement)
