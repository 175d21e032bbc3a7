"""The retry schedule, on an injected clock and injected chance."""

from typing import Any

import pytest

from hookbus.client import retry
from hookbus.client.transport import Reply, TransportError


class World:
    """A clock that only sleeping moves."""

    def __init__(self, outcomes: Any):
        self.now = 0.0
        self.slept = []
        self.outcomes = list(outcomes)

    def sleep(self, seconds: Any):
        self.slept.append(seconds)
        self.now += seconds

    def attempt(self):
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def call(self, *, deadline: Any, chance: Any = 1.0):
        return retry.call(
            self.attempt, deadline=deadline, clock=lambda: self.now, sleep=self.sleep, random=lambda: chance
        )


def reply(status: int, **headers: Any):
    return Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def test_three_retries_one_second_doubling_and_then_the_error() -> None:
    world = World([TransportError(str(number)) for number in range(9)])
    with pytest.raises(TransportError, match="3"):
        world.call(deadline=100.0)
    assert world.slept == [1.0, 2.0, 4.0]


def test_the_jitter_is_full() -> None:
    world = World([reply(503), reply(503), reply(503), reply(202)])
    assert world.call(deadline=100.0, chance=0.25).status == 202
    assert world.slept == [0.25, 0.5, 1.0]


def test_the_waits_are_capped_by_the_deadline() -> None:
    world = World([TransportError("x")] * 9)
    with pytest.raises(TransportError):
        world.call(deadline=2.0)
    assert world.now <= 2.0 - retry.ATTEMPT_MIN_S


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 409, 413, 415, 422])
def test_an_answer_that_is_final_is_not_asked_for_again(status: int) -> None:
    assert World([reply(status)]).call(deadline=100.0).status == status


def test_retry_after_is_honoured_within_the_deadline() -> None:
    world = World([reply(429, retry_after="2"), reply(202)])
    assert world.call(deadline=10.0).status == 202
    assert world.slept == [2.0]


def test_retry_after_beyond_the_deadline_gives_up_at_once() -> None:
    world = World([reply(503, retry_after="5")])
    assert world.call(deadline=2.0).status == 503
    assert world.slept == []


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1e3", "٣", ""])
def test_a_retry_after_that_is_no_number_of_seconds_is_none(text: str) -> None:
    assert retry.retry_after_s(reply(503, retry_after=text)) is None


def test_chance_lies_in_the_unit_interval() -> None:
    assert all(0.0 <= retry.uniform() < 1.0 for _ in range(1_000))
