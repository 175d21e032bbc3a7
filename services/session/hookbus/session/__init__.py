"""The session service: API keys, agent sessions with an explainable risk, the kill switch."""
