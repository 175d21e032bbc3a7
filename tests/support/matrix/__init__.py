"""The fault matrix: a stack whose parts can be broken, load that remembers what it was told, and a recount."""
