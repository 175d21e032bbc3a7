"""``hookbus doctor``: proves that the guard works as the agent runs it."""
