"""What the adapter tests share."""

import itertools

import pytest

from hookbus.client.adapters.base import Context


@pytest.fixture
def context():
    """A context with ids that count up."""
    numbers = itertools.count(1)
    return Context(
        agent_id=None,
        project=None,
        fingerprint={"host": "h", "user": "u"},
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
        time_text="2026-01-01T00:00:00.000Z",
        new_event_id=lambda: f"id-{next(numbers)}",
    )
