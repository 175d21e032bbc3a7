"""The input guard: pure functions that refuse by structure and decide by meaning, in linear time."""
