"""Reservations over the real bus and database."""
