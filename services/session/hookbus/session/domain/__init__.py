"""What the session service knows, as pure functions over frozen values: no I/O, clock and randomness passed in."""
