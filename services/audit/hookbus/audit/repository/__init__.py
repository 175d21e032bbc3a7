"""Every SQL statement of the audit service."""
