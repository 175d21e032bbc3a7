"""The database: one pool, one schema and one role per service, migrations before start."""
