"""Every SQL statement of the session service, by table."""
