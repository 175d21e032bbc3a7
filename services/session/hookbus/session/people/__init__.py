"""People: users, their passwords and one-time codes, their sessions and tokens."""
