"""A process that answers no more is killed; one that starts yet, or misses an answer now and then, is not."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from support.sleeper import sleeper
from support.waiting import eventually

from hookbus.embedded import supervisor
from hookbus.embedded.supervisor import UNANSWERED_CHECKS_MAX, Unit

INTERVAL_S = 0.01
CHECKS = 10 * UNANSWERED_CHECKS_MAX
WAIT_S = 30.0


class Checked:
    """Answers to life checks, one after the other; the last for ever."""

    def __init__(self, answers: Iterator[bool]) -> None:
        self._answers = answers
        self.count = 0

    def __call__(self) -> bool:
        self.count += 1
        return next(self._answers)


@asynccontextmanager
async def watched(folder: Path, is_alive: Callable[[], bool]) -> AsyncGenerator[Unit]:
    unit = sleeper(folder, ready_timeout_s=0.0)
    unit.process.start()
    watching = asyncio.create_task(supervisor._end_hung(unit, is_alive))  # pyright: ignore[reportPrivateUsage]
    try:
        yield unit
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        unit.process.kill()


@pytest.fixture(autouse=True)
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LIFE_CHECK_INTERVAL_S", INTERVAL_S)


def answers(first: tuple[bool, ...], then: tuple[bool, ...]) -> Iterator[bool]:
    yield from first
    while True:
        yield from then


async def test_a_process_that_answers_no_more_is_killed(tmp_path: Path) -> None:
    checked = Checked(answers((True,), (False,)))
    async with watched(tmp_path, checked) as unit:
        await eventually(lambda: not unit.process.is_running, WAIT_S)
        assert unit.process.exit_code == -9
        assert checked.count >= 1 + UNANSWERED_CHECKS_MAX


async def test_a_process_that_never_answered_is_starting_and_lives(tmp_path: Path) -> None:
    checked = Checked(answers((), (False,)))
    async with watched(tmp_path, checked) as unit:
        await eventually(lambda: checked.count > CHECKS, WAIT_S)
        assert unit.process.is_running


async def test_a_process_that_misses_answers_now_and_then_lives(tmp_path: Path) -> None:
    misses = (False,) * (UNANSWERED_CHECKS_MAX - 1)
    checked = Checked(answers((True,), (*misses, True)))
    async with watched(tmp_path, checked) as unit:
        await eventually(lambda: checked.count > CHECKS, WAIT_S)
        assert unit.process.is_running
