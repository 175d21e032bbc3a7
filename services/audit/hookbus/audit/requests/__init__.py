"""Requests in: what the audit service answers over the bus."""
