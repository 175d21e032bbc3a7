"""The HTTP edge: authenticates, validates, guards, publishes, asks. It holds no business rule and no database."""
